"""The hook that owns attack and tokenizer."""

import copy
import re

import torch
import torch.distributed as dist
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS, TASK_UTILS

from projects.dat import attacks
from projects.dat.runtime.arguments import check_arguments
from projects.dat.runtime.errors import ArgumentError, UserError
from projects.dat.runtime.seeds import hash_seed
from projects.dat.tokenizer import DEFAULT_TOKENIZER, load_tokenizer

from .adversary import Adversary
from .attack_pictures import attack_sheet

_ON_TOKENS = (attacks.DiscreteAttack, attacks.TokenFlipAttack)
MEASURED = ('attack/objective_after', 'attack/rise')  # of single batches
for _class in (attacks.DetAdvPropAttack, attacks.PixelAttack, *_ON_TOKENS):
    TASK_UTILS.register_module(module=_class)


@HOOKS.register_module()
class AdversarialTrainingHook(Hook):
    """Builds the attack and binds it, with the model, to the data preprocessor.

    The tokenizer lives here, outside the module tree: it is in no checkpoint, optimizer, DDP bucket
    or averaged model. Statistics of the attack are gathered on the device and logged as
    ``attack/...``, the mean since the last log; ``attack/skipped`` counts all batches whose loss or
    gradient was not finite. ``attack/objective_after`` and ``attack/rise`` are of the last batch
    before the log alone. Pictures of the attack (:func:`attack_sheet`) go to the visualizer's
    backends. The attack's state travels in the checkpoint.

    Args:
        attack (dict): Config of ``DiscreteAttack`` (without tokenizer; its ``controller`` may be a
            dict of arguments), ``TokenFlipAttack``, ``PixelAttack`` or ``DetAdvPropAttack``.
            Defaults to dict(type='DiscreteAttack').
        tokenizer (str | dict | None): What ``load_tokenizer`` takes: a name, a path, or a dict of
            its arguments; None for attacks without one. Defaults to the bundled tokenizer.
        losses (str): See :class:`Adversary`. Defaults to 'loss', all losses.
        log_interval (int): Iterations between logs. Defaults to 50.
        picture_interval (int): Iterations between pictures; the first iteration has one too.
            Defaults to 500.

    Raises:
        ArgumentError: An argument, also one of attack, controller or tokenizer, is unknown or out
            of range.
    """

    # Before the hooks that log.
    priority = 'NORMAL'
    MAX_PICTURED = 4

    def __init__(
        self,
        attack: dict | None = None,
        tokenizer: str | dict | None = DEFAULT_TOKENIZER,
        losses: str = 'loss',
        log_interval: int = 50,
        picture_interval: int = 500,
    ):
        self.attack_cfg = attack or dict(type='DiscreteAttack')
        named = isinstance(tokenizer, str)
        self.tokenizer_cfg = dict(name_or_path=tokenizer) if named else tokenizer
        self._make_attack(None)
        if self.tokenizer_cfg is not None:
            check_arguments(load_tokenizer, self.tokenizer_cfg, 'adversarial.tokenizer')
        try:
            re.compile(losses)
        except (re.error, TypeError) as error:
            raise ArgumentError(
                f'expected adversarial.losses to be a regular expression, got {losses!r} ({error})'
            ) from None
        for name, interval in (('log', log_interval), ('picture', picture_interval)):
            if not isinstance(interval, int) or interval < 1:
                raise ArgumentError(
                    f'expected adversarial.{name}_interval to be a number of iterations of at '
                    f'least 1, got {interval!r}'
                )
        self.losses = losses
        self.log_interval = log_interval
        self.picture_interval = picture_interval
        self.adversary = None
        self._state = None
        self._sums = {}
        self._count = 0
        self._skipped = 0

    def build_attack(self, device: torch.device | str):
        """The attack, with its tokenizer on ``device``."""
        if self.tokenizer_cfg is None:
            return self._make_attack(None)
        return self._make_attack(load_tokenizer(**self.tokenizer_cfg).to(device))

    def _make_attack(self, tokenizer):
        if not isinstance(self.attack_cfg, dict):
            raise ArgumentError(
                f'expected adversarial.attack to be a dict such as dict(type={self.attack_cfg!r}), '
                f'got {self.attack_cfg!r}'
            )
        cfg = dict(self.attack_cfg)
        kind = cfg.pop('type', '')
        kind = TASK_UTILS.get(kind) if isinstance(kind, str) else kind
        if not isinstance(kind, type):
            raise ArgumentError(
                f'expected adversarial.attack.type to be DiscreteAttack, TokenFlipAttack, '
                f'PixelAttack, DetAdvPropAttack or a class registered in TASK_UTILS, got '
                f'{self.attack_cfg.get("type")!r}'
            )
        if issubclass(kind, _ON_TOKENS):
            if self.tokenizer_cfg is None:
                raise ArgumentError(
                    f'{kind.__name__} changes tokens and needs a tokenizer: set '
                    f'adversarial.tokenizer, such as {DEFAULT_TOKENIZER!r}'
                )
            cfg['tokenizer'] = tokenizer
        if isinstance(cfg.get('controller'), dict):
            controller = attacks.TokenChangeController
            check_arguments(controller, cfg['controller'], 'adversarial.attack.controller')
            cfg['controller'] = controller(**cfg['controller'])
        check_arguments(kind, cfg, 'adversarial.attack')
        return kind(**cfg)

    def before_train(self, runner) -> None:
        """Build everything; the model is on its device and loaded by now, and EMA has its copy."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        preprocessor = model.data_preprocessor
        if not hasattr(preprocessor, 'bind'):
            raise UserError(
                'AdversarialTrainingHook expected an adversarial data preprocessor, found '
                f"{type(preprocessor).__name__}: train with runner_type='AdversarialRunner'"
            )
        attack = self.build_attack(next(model.parameters()).device)
        if self._state is not None:
            attack.load_state_dict(self._state)
        self.adversary = Adversary(attack, model.train(), self.losses)
        preprocessor.bind(self.adversary)

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Fresh random numbers from (seed, rank, iteration): a restart repeats them."""
        self.adversary.attack.seed(hash_seed(runner.seed, get_rank(), runner.iter))
        self.adversary.keep_result = runner.iter % self.picture_interval == 0
        self.adversary.measure = self._log_is_due(runner)
        if runner.iter == 0:
            self._warn_of_sums(runner, data_batch)

    def _warn_of_sums(self, runner, data_batch) -> None:
        """Losses that are sums over images grow with the batch, and with them the gradient."""
        model = self.adversary.model
        preprocessor = model.data_preprocessor
        # Both have to hold: a mean may grow too, where what it is divided by is at its minimum
        # before training (RTMDet), and a sum need not, where the head divides it (YOLOX).
        sums = any(getattr(module, 'reduction', None) == 'sum' for module in model.modules())
        if preprocessor.assembly != 'concat' or not sums:
            return
        with torch.no_grad(), attacks.isolate(model):
            data = preprocessor.plain(copy.deepcopy(data_batch))
            once = model(**copy.deepcopy(data), mode='loss')
            samples = data['data_samples']
            twice = model(
                inputs=torch.cat([data['inputs']] * 2),
                data_samples=samples and copy.deepcopy(samples) + copy.deepcopy(samples),
                mode='loss',
            )
        # Random parts of a model move the ratio, but not halfway from 1 to 2.
        losses = {k: (_value(once[k]), _value(twice[k])) for k in once if 'loss' in k}
        summed = [name for name, (single, double) in losses.items() if double > 1.5 * single]
        if summed:
            factor = f'{1 + preprocessor.share:.3g}'
            runner.logger.warning(
                f'{", ".join(summed)} of {type(model).__name__} are sums over images: with '
                f"assembly='concat' the effective learning rate is {factor} times that of plain "
                f"training; divide it by {factor} or use adversarial.assembly='replace'"
            )

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Synchronize the step size and gather the statistics; log and draw them when due."""
        self._synchronize_step_size()
        stats = dict(self.adversary.stats)
        skipped = stats.pop('attack/skipped')
        measured = {name: stats.pop(name) for name in MEASURED if name in stats}
        for name, value in stats.items():
            # Only what was attacked counts; the loss of a skipped batch need not be finite.
            value = torch.where(skipped.bool(), 0, value)
            self._sums[name] = self._sums.get(name, 0) + value
        self._sums['attack/skipped'] = self._sums.get('attack/skipped', 0) + skipped
        self._count += 1
        if self._log_is_due(runner):
            self._log(runner)
            for name, value in measured.items():
                runner.message_hub.update_scalar(f'train/{name}', value.item())
        if self.adversary.kept is not None:
            self._draw(runner)

    def _synchronize_step_size(self) -> None:
        """Ranks see different images; the mean of their step sizes is the batch's."""
        controller = getattr(self.adversary.attack, 'controller', None)
        if controller is not None and dist.is_initialized() and dist.get_world_size() > 1:
            dist.all_reduce(controller.log_alpha)
            controller.log_alpha /= dist.get_world_size()

    def _log_is_due(self, runner) -> bool:
        return (
            self.every_n_train_iters(runner, self.log_interval) or self.is_last_train_iter(runner)
        )

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

    def _draw(self, runner) -> None:
        images, mask, samples, result = self.adversary.kept
        self.adversary.kept = None
        boxes = None
        if samples and 'gt_instances' in samples[0]:
            boxes = [sample.gt_instances.bboxes for sample in samples]
            boxes = [getattr(b, 'tensor', b) for b in boxes]  # of MMDetection's box types
        sheet = attack_sheet(images, mask, result, boxes, max_images=self.MAX_PICTURED)
        runner.visualizer.add_image('attack', sheet, step=runner.iter)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Add the attack's state, and which method this is."""
        if self.adversary is not None:
            checkpoint['adversarial_training'] = dict(
                method=self.method(runner.cfg),
                attack=self.adversary.attack.state_dict(),
                skipped=self._skipped,
            )

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take the attack's state, when resuming; the attack is built later.

        Raises:
            UserError: The checkpoint is of a run with another method.
        """
        if not runner._resume:
            return
        check_same_method(checkpoint, self.method(runner.cfg))
        saved = checkpoint['adversarial_training']
        self._state = saved['attack']
        self._skipped = saved['skipped']

    def method(self, cfg) -> str:
        """What decides which state a run has: attack, its step size rule, batch norms."""
        attack = self._make_attack(None)
        rule = '' if getattr(attack, 'controller', None) is None else ' with a controller'
        split = cfg.get('adversarial', {}).get('split_bn', 'clean')
        return f'{type(attack).__name__}{rule}, split_bn={split}'

    def after_train(self, runner) -> None:
        """Let go of the model."""
        self.adversary.release()
        self.adversary.model.data_preprocessor.unbind()
        self.adversary = None


def check_same_method(checkpoint: dict, now: str = 'plain training') -> None:
    """Check that a checkpoint to resume from is of the method that will go on.

    Args:
        checkpoint (dict): Of a run.
        now (str): From :meth:`AdversarialTrainingHook.method`. Defaults to 'plain training'.

    Raises:
        UserError: It is of another method.
    """
    before = checkpoint.get('adversarial_training', {}).get('method', 'plain training')
    if before != now:
        raise UserError(
            f'the checkpoint to resume from comes from {before}, but this config is {now}: '
            'resume with the config it was trained with, or start a new run from its weights '
            'with --cfg-options load_from=CHECKPOINT'
        )


def _value(loss) -> float:
    return sum(part.float().mean().item() for part in (loss if isinstance(loss, list) else [loss]))
