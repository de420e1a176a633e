"""The hook that owns tokenizer and attack."""

import hashlib
import re

import torch
import torch.distributed as dist
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS, TASK_UTILS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from projects.dat import attacks
from projects.dat.runtime.errors import UserError
from projects.dat.tokenizer import DEFAULT_TOKENIZER, load_tokenizer

from .adversary import Adversary
from .split_bn import SplitBN, set_route

for _class in (
    attacks.TokenChangeController,
    attacks.DetAdvPropAttack,
    attacks.DiscreteAttack,
    attacks.PixelAttack,
):
    TASK_UTILS.register_module(module=_class)


@HOOKS.register_module()
class AdversarialTrainingHook(Hook):
    """Builds the attack and binds it, with the model, to the data preprocessor.

    The tokenizer lives here, outside the module tree: it is in no checkpoint, optimizer, DDP bucket
    or averaged model. Statistics of the attack are gathered on the device and logged as
    ``attack/...``, the mean since the last log; ``attack/skipped`` counts all batches whose loss or
    gradient was not finite. The attack's state travels in the checkpoint.

    Args:
        attack (dict): Config of ``DiscreteAttack`` (without tokenizer), ``PixelAttack`` or
            ``DetAdvPropAttack``. Defaults to dict(type='DiscreteAttack').
        tokenizer (str | dict | None): What ``load_tokenizer`` takes: a name, a path, or a dict of
            its arguments; None for attacks without one. Defaults to the bundled tokenizer.
        loss_pattern (str): See :class:`Adversary`. Defaults to 'loss', all losses.
        interval (int): Iterations between logs. Defaults to 50.
    """

    # Before the hooks that log.
    priority = 'NORMAL'

    def __init__(
        self,
        attack: dict | None = None,
        tokenizer: str | dict | None = DEFAULT_TOKENIZER,
        loss_pattern: str = 'loss',
        interval: int = 50,
    ):
        self.attack_cfg = attack or dict(type='DiscreteAttack')
        self.tokenizer_cfg = tokenizer
        try:
            re.compile(loss_pattern)
        except re.error as error:
            raise ValueError(
                f'expected loss_pattern to be a regular expression, got {loss_pattern!r} ({error})'
            ) from None
        self.loss_pattern = loss_pattern
        self.interval = interval
        self.adversary = None
        self._state = None
        self._sums = {}
        self._count = 0
        self._skipped = 0

    def before_train(self, runner) -> None:
        """Build everything; the model is on its device and loaded by now, and EMA has its copy."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        preprocessor = model.data_preprocessor
        if not hasattr(preprocessor, 'bind'):
            raise UserError(
                'AdversarialTrainingHook expected an adversarial data preprocessor such as '
                f'AdversarialDetDataPreprocessor, found {type(preprocessor).__name__}'
            )
        attack = self.build_attack(next(model.parameters()).device)
        if self._state is not None:
            try:
                attack.load_state_dict(self._state)
            except ValueError as error:
                raise UserError(str(error)) from error
        self.adversary = Adversary(attack, model, self.loss_pattern)
        concat = preprocessor.assembly == 'concat'
        self._check_norms(runner, model.train(), concat)
        set_route(self.adversary.batch_norms, 'split' if concat else 'main')
        preprocessor.bind(self.adversary)

    def _check_norms(self, runner, model: nn.Module, concat: bool) -> None:
        norms = self.adversary.batch_norms
        halving = next((norm.split for norm in norms if norm.split != 'shared'), None)
        if halving and not concat:
            raise UserError(
                f'split_bn={halving!r} treats the clean and the adversarial half of a batch '
                "differently and assembly='replace' has no halves: use assembly='concat' or "
                "split_bn='shared'"
            )
        auxiliary = [norm for norm in norms if norm.split == 'aux']
        if not all(norm.training for norm in auxiliary):
            raise UserError(
                "split_bn='aux' needs batch norms that train, but some are frozen: set "
                'norm_eval=False and frozen_stages=-1 in model.backbone'
            )
        joint = [
            name
            for name, module in model.named_modules()
            if isinstance(module, _BatchNorm)
            and not isinstance(module, SplitBN)
            and not name.endswith('.aux')
            and module.training
            and not name.startswith('roi_head')
        ]
        if concat and joint:
            runner.logger.warning(
                f'{len(joint)} batch norms such as {joint[0]} take their statistics over clean and '
                "adversarial images together; norm_cfg=dict(type='SplitBN') normalizes them apart"
            )

    def build_attack(self, device: torch.device):
        """The attack, with its tokenizer on ``device``."""
        cfg = dict(self.attack_cfg)
        if isinstance(cfg.get('controller'), dict):
            cfg['controller'] = TASK_UTILS.build(cfg['controller'])
        if self.tokenizer_cfg is not None:
            args = self.tokenizer_cfg
            args = dict(args) if isinstance(args, dict) else dict(name_or_path=args)
            cfg['tokenizer'] = load_tokenizer(**args).to(device)
        return TASK_UTILS.build(cfg)

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Fresh random numbers from (seed, rank, iteration): a restart repeats them."""
        key = f'{runner.seed}/{get_rank()}/{runner.iter}'.encode()
        seed = int.from_bytes(hashlib.sha256(key).digest()[:8], 'big') >> 1
        self.adversary.attack.seed(seed)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Synchronize the step size and gather the statistics; log them every few iterations."""
        self._synchronize_step_size()
        stats = dict(self.adversary.stats)
        skipped = stats.pop('attack/skipped')
        for name, value in stats.items():
            # Only what was attacked counts; the loss of a skipped batch need not be finite.
            value = torch.where(skipped.bool(), 0, value)
            self._sums[name] = self._sums.get(name, 0) + value
        self._sums['attack/skipped'] = self._sums.get('attack/skipped', 0) + skipped
        self._count += 1
        if self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner):
            self._log(runner)

    def _synchronize_step_size(self) -> None:
        """Ranks see different images; the mean of their step sizes is the batch's."""
        controller = getattr(self.adversary.attack, 'controller', None)
        if controller is not None and dist.is_initialized() and dist.get_world_size() > 1:
            dist.all_reduce(controller.log_alpha)
            controller.log_alpha /= dist.get_world_size()

    def _log(self, runner) -> None:
        totals = torch.stack(list(self._sums.values())).tolist()  # the one wait for the device
        totals = dict(zip(self._sums, totals, strict=True))
        skipped = int(totals.pop('attack/skipped'))
        attacked = max(self._count - skipped, 1)
        for name, total in totals.items():
            runner.message_hub.update_scalar(f'train/{name}', total / attacked)
        if skipped and not self._skipped:
            runner.logger.warning(
                f'{skipped} of the last {self._count} batches had a loss or gradient that was not '
                'finite and were not attacked; attack/skipped counts them from here'
            )
        self._skipped += skipped
        runner.message_hub.update_scalar('train/attack/skipped', self._skipped)
        self._sums, self._count = {}, 0

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Add the attack's state."""
        if self.adversary is not None:
            checkpoint['adversarial_training'] = dict(
                attack=self.adversary.attack.state_dict(), skipped=self._skipped
            )

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take the attack's state, when resuming; the attack is built later."""
        saved = checkpoint.get('adversarial_training')
        if runner._resume and saved is not None:
            self._state = saved['attack']
            self._skipped = saved['skipped']

    def after_train(self, runner) -> None:
        """Let go of the model."""
        set_route(self.adversary.batch_norms, 'main')
        self.adversary.model.data_preprocessor.unbind()
        self.adversary = None
