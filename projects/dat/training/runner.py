"""The runner that trains a plain config adversarially."""

import copy
import functools

from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import RUNNERS
from mmengine.runner import FlexibleRunner, Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from projects.dat.runtime.arguments import check_arguments
from projects.dat.runtime.config import type_name, walk
from projects.dat.runtime.errors import UserError

from .hook import AdversarialTrainingHook, check_same_method
from .preprocessors import check_assembly, make_adversarial
from .split_bn import SPLITS, SplitBN

REGISTRATION = 'projects.dat.register'
PREPARE = ('assembly', 'share', 'split_bn', 'keep_bn')  # the others are the hook's


@RUNNERS.register_module()
class AdversarialRunner(Runner):
    """A Runner that follows the key ``adversarial`` of its config.

    A fragment (configs/_base_/attacks/*.py) sets ``runner_type='AdversarialRunner'`` and this key;
    the training commands of MMDetection and MMPretrain, and ours, then build this runner. It
    changes no config: on the *built* model it gives the data preprocessor its attack and splits
    batch norms, and it adds the :class:`AdversarialTrainingHook` and a :class:`RandomStateHook`.
    The arguments of ``adversarial`` are those of :meth:`prepare` and of the hook. Checkpoints and
    saved configs serve the plain model as they are.
    """

    @classmethod
    def from_cfg(cls, cfg) -> 'AdversarialRunner':
        """Build the runner; mistakes in ``adversarial`` are said first.

        Raises:
            UserError: ``adversarial`` is missing, or holds an unknown or unfit argument.
        """
        cfg = copy.deepcopy(cfg)
        check_adversarial(cfg)
        # A saved config may be all that is left of the file that imported the registration.
        imports = cfg.get('custom_imports', {}).get('imports', [])
        imports = [imports] if isinstance(imports, str) else imports
        cfg['custom_imports'] = dict(
            imports=list(dict.fromkeys([*imports, REGISTRATION])), allow_failed_imports=False
        )
        return super().from_cfg(cfg)

    def build_model(self, model: nn.Module | dict) -> nn.Module:
        """Build the model as any Runner does, then prepare it."""
        return prepare_model(super().build_model(model), self.cfg, self.logger)

    @staticmethod
    def prepare(
        model: BaseModel,
        pad_values=(),
        logger=None,
        assembly: str = 'concat',
        share: float = 1.0,
        split_bn: str | None = 'clean',
        keep_bn: tuple[str, ...] = ('roi_head',),
    ) -> BaseModel:
        """Prepare a built model for adversarial training, in place.

        Args:
            model (BaseModel): From MMDetection or MMPretrain.
            pad_values (Sequence): See :class:`AdversarialMixin`. Defaults to ().
            logger (logging.Logger, optional): Where warnings go. Defaults to None.
            assembly (str): See :class:`AdversarialMixin`. Defaults to 'concat'.
            share (float): See :class:`AdversarialMixin`. Defaults to 1.
            split_bn (str, optional): How the clean and the adversarial part of a batch share batch
                norms: 'clean', 'shared' or 'aux', see :class:`SplitBN`; None for plain batch norm
                over both. Views of self-supervision are batches of their own and share plain ones.
                Defaults to 'clean'.
            keep_bn (tuple[str]): Prefixes of modules whose batch norms stay as they are. Defaults
                to RoI heads, whose samples are not the batch's images.

        Raises:
            UserError: The model cannot be trained this way.
        """
        preprocessor = make_adversarial(model.data_preprocessor, assembly, share, pad_values)
        model.data_preprocessor = preprocessor
        if split_bn is None or not preprocessor.ONE_BATCH:
            return model
        if preprocessor.assembly == 'replace' and share == 1 and split_bn != 'shared':
            raise UserError(
                f"split_bn={split_bn!r} needs clean images, and assembly='replace' with share=1 "
                "leaves none: use assembly='concat', a smaller share or split_bn='shared'"
            )
        found = SplitBN.convert(model, split_bn, keep_bn)
        if split_bn == 'aux':
            _check_auxiliary(model, found, keep_bn)
        joint = [
            name
            for name, module in model.named_modules()
            if isinstance(module, _BatchNorm) and module.training and not name.endswith('.aux')
            and not isinstance(module, SplitBN) and not name.startswith(tuple(keep_bn))
        ]
        if joint and logger is not None:
            logger.warning(
                f'{len(joint)} batch norms such as {joint[0]} take their statistics over clean and '
                'adversarial images together'
            )
        return model

    def register_custom_hooks(self, hooks) -> None:
        """Register the config's hooks, and those of adversarial training."""
        super().register_custom_hooks(hooks)
        present = {type(hook).__name__ for hook in self.hooks}
        if 'RandomStateHook' not in present:
            self.register_hook(dict(type='RandomStateHook'))
        self.register_hook(make_hook(self.cfg))

    def register_hooks(self, default_hooks=None, custom_hooks=None) -> None:
        """As any Runner, also without custom hooks in the config."""
        super().register_hooks(default_hooks, custom_hooks or [])


def _options(adversarial: dict) -> tuple[dict, dict]:
    """The arguments of :meth:`AdversarialRunner.prepare`, and those of the hook."""
    ours = {k: v for k, v in adversarial.items() if k in PREPARE}
    return ours, {k: v for k, v in adversarial.items() if k not in PREPARE}


def make_hook(cfg: Config) -> AdversarialTrainingHook:
    """The hook that ``cfg.adversarial`` describes."""
    return AdversarialTrainingHook(**_options(cfg.adversarial)[1])


def prepare_model(model: BaseModel, cfg: Config, logger=None, **changes) -> BaseModel:
    """:meth:`AdversarialRunner.prepare` as ``cfg.adversarial`` says, but for ``changes``."""
    options = {**_options(cfg.adversarial)[0], **changes}
    return AdversarialRunner.prepare(model, _pad_values(cfg), logger=logger, **options)


def check_adversarial(cfg: Config, load: bool = False) -> None:
    """Check the key ``adversarial`` of a config, without building the model.

    Args:
        cfg (Config): A whole config.
        load (bool): Load the tokenizer too, which training will need and testing will not.
            Defaults to False.

    Raises:
        UserError: The key is missing, or holds an unknown or unfit argument.
    """
    adversarial = cfg.get('adversarial')
    if adversarial is None:
        raise UserError(
            "runner_type='AdversarialRunner' needs the key adversarial: inherit a fragment of "
            'configs/_base_/attacks, or leave runner_type out'
        )
    ours, of_hook = _options(adversarial)
    check_arguments(AdversarialTrainingHook, of_hook, 'adversarial', also=PREPARE)
    check_assembly(ours.get('assembly', 'concat'), ours.get('share', 1.0))
    if ours.get('split_bn', 'clean') not in (*SPLITS, None):
        raise UserError(
            f'expected adversarial.split_bn to be one of {", ".join(SPLITS)} or None, got '
            f'{ours["split_bn"]!r}'
        )
    if cfg.get('sync_bn') and ours.get('split_bn', 'clean'):
        raise UserError(
            "sync_bn would replace the split batch norms: write norm_cfg=dict(type='SyncBN') in "
            'the model, which become split and synchronized ones, and leave sync_bn out'
        )
    hook = make_hook(cfg)
    if load:
        hook.build_attack('cpu')


def check_resume(cfg: Config, checkpoint: dict) -> None:
    """Check that a run of this config, adversarial or plain, can go on from a checkpoint.

    Raises:
        UserError: The checkpoint is of another method.
    """
    if 'adversarial' in cfg:
        check_same_method(checkpoint, make_hook(cfg).method(cfg))
    else:
        check_same_method(checkpoint)


def _pad_values(cfg: Config) -> list:
    """What the ``Pad`` transforms of the training pipelines fill images with."""
    values = []
    loader = cfg.get('train_dataloader') or {}
    for _, node in walk(loader.get('dataset', {}) if isinstance(loader, dict) else {}, ''):
        if type_name(node) == 'Pad':
            value = node.get('pad_val', 0)
            value = value.get('img', 0) if isinstance(value, dict) else value
            values.append(tuple(value) if isinstance(value, (list, tuple)) else value)
    return list(dict.fromkeys(values))


def _check_auxiliary(model: nn.Module, found: list[str], keep: tuple[str, ...]) -> None:
    frozen = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and not module.training
        and not name.startswith(tuple(keep))
    ]
    if frozen:
        raise UserError(
            f"split_bn='aux' needs batch norms that train, but {len(frozen)} such as "
            f'{frozen[0][0]} are frozen: thaw them with --cfg-options {_thaw(model, frozen)}'
        )
    if not found:
        raise UserError(
            f"split_bn='aux' asks for auxiliary batch norms, but {type(model).__name__} has no "
            'batch norm that trains: choose a model with batch norms, or adversarial.split_bn=None '
            'where clean and adversarial images shall share everything'
        )


def _thaw(model: nn.Module, frozen: list[tuple[str, nn.Module]]) -> str:
    """The options that freeze these layers, as the modules above them have them, undone."""
    options = []
    for name, owner in model.named_modules():
        if not any(layer.startswith(f'{name}.') for layer, _ in frozen):
            continue
        if getattr(owner, 'norm_eval', False):
            options.append(f'model.{name}.norm_eval=False')
        if isinstance(stages := getattr(owner, 'frozen_stages', None), int) and stages >= 0:
            options.append(f'model.{name}.frozen_stages=-1')
    return ' '.join(options) or 'of the modules above them'


def _refuse_plain_training(train):
    @functools.wraps(train)
    def guarded(self, *args, **kwargs):
        if self.cfg.get('adversarial') and not isinstance(self, AdversarialRunner):
            raise UserError(
                f'the config has the key adversarial, which {type(self).__name__} would ignore '
                "and train plainly: build the runner with RUNNERS.build(cfg) and runner_type="
                "'AdversarialRunner', or remove the key"
            )
        return train(self, *args, **kwargs)

    return guarded


# Training plainly without a word would be the worst of faults, so every runner looks.
for _runner in (Runner, FlexibleRunner):
    _runner.train = _refuse_plain_training(_runner.train)
