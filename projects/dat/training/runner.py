"""The runner that trains a plain config adversarially."""

import copy
import functools

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import FlexibleRunner, Runner
from torch import nn

from projects.dat.runtime.arguments import check_arguments
from projects.dat.runtime.config import type_name, walk
from projects.dat.runtime.errors import UserError
from projects.dat.runtime.preflight.parts import build_model
from projects.dat.runtime.preflight.weights import CURE, read_checkpoint

from .hook import AdversarialTrainingHook, check_same_method
from .prepare import prepare_model
from .preprocessors import SECOND_VIEW, check_assembly, check_views
from .split_bn import SPLITS, split_batch_norms

REGISTRATION = 'projects.dat.register'
PREPARE = ('assembly', 'share', 'split_bn', 'keep_bn', 'views')  # the others are the hook's


@RUNNERS.register_module()
class AdversarialRunner(Runner):
    """A Runner that follows the key ``adversarial`` of its config.

    A fragment (configs/_base_/attacks/*.py) sets ``runner_type='AdversarialRunner'`` and this key;
    the training commands of MMDetection and MMPretrain, and ours, then build this runner. It
    changes no config: on the *built* model it gives the data preprocessor its attack and splits
    batch norms, and it adds the :class:`AdversarialTrainingHook` and a :class:`RandomStateHook`.
    The arguments of ``adversarial`` are those of :func:`prepare_model` and of the hook. Checkpoints
    and saved configs serve the plain model as they are.
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
        own = cfg.get('custom_imports') or {}
        imports = own.get('imports', [])
        imports = [imports] if isinstance(imports, str) else imports
        # Where this project is not importable, training still fails, for want of the runner, and
        # evaluation of a stock model works.
        cfg['custom_imports'] = dict(
            imports=list(dict.fromkeys([*imports, REGISTRATION])),
            allow_failed_imports=own.get('allow_failed_imports', True),
        )
        return super().from_cfg(cfg)

    def build_model(self, model: nn.Module | dict) -> nn.Module:
        """Build the model as any Runner does, then prepare it."""
        check_adversarial(self.cfg)  # also where the runner was built without from_cfg
        model = super().build_model(model)
        return prepare_model(model, logger=self.logger, **settings_of(self.cfg))

    def _init_model_weights(self) -> None:
        """As any Runner; an auxiliary batch norm starts as its main one, whatever set that."""
        super()._init_model_weights()
        for norm in split_batch_norms(self.model):
            norm.start_auxiliary()

    def load_checkpoint(self, filename: str, *args, **kwargs) -> dict:
        """As any Runner; a file that cannot be read, or is unsafe, is a UserError."""
        try:
            return super().load_checkpoint(filename, *args, **kwargs)
        except Exception:
            # MMDetection's command has not looked before, and torch advises to run what is in it.
            read_checkpoint(filename, 'checkpoint', CURE)
            raise

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


def settings_of(cfg: Config) -> dict:
    """The arguments of :func:`prepare_model` that a config holds."""
    settings = {k: v for k, v in cfg['adversarial'].items() if k in PREPARE}
    if isinstance(settings.get('keep_bn'), str):
        settings['keep_bn'] = (settings['keep_bn'],)
    # Hooks switch pipelines.
    nodes = [cfg.get('train_dataloader'), cfg.get('custom_hooks')]
    return dict(settings, pad_values=pad_values(nodes))


def make_hook(cfg: Config) -> AdversarialTrainingHook:
    """The hook that ``cfg.adversarial`` describes."""
    return AdversarialTrainingHook(
        **{k: v for k, v in cfg['adversarial'].items() if k not in PREPARE}
    )


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
    if not isinstance(adversarial, dict):
        raise UserError(
            "runner_type='AdversarialRunner' needs the key adversarial, a dict: inherit a fragment "
            f'of configs/_base_/attacks, or leave runner_type out (found {adversarial!r})'
        )
    of_hook = {name: value for name, value in adversarial.items() if name not in PREPARE}
    check_arguments(AdversarialTrainingHook, of_hook, 'adversarial', also=PREPARE)
    assembly, share = adversarial.get('assembly', 'concat'), adversarial.get('share', 1.0)
    check_assembly(assembly, share)
    check_views(adversarial.get('views', SECOND_VIEW))
    split, keep = adversarial.get('split_bn', 'clean'), adversarial.get('keep_bn', ())
    if split not in (*SPLITS, None):
        raise UserError(
            f'expected adversarial.split_bn to be one of {", ".join(SPLITS)} or None, got {split!r}'
        )
    if not isinstance(keep, str | list | tuple) or not all(isinstance(k, str) for k in keep):
        raise UserError(
            f'expected adversarial.keep_bn to be prefixes of modules, such as "[roi_head]", got '
            f'{keep!r}'
        )
    batch_size = (cfg.get('train_dataloader') or {}).get('batch_size')
    if assembly == 'replace' and batch_size == 1 and split in ('clean', 'aux'):
        raise UserError(
            f"split_bn={split!r} needs clean images, and assembly='replace' leaves none of a batch "
            "of 1: use larger batches, assembly='concat' or split_bn='shared'"
        )
    model = cfg.get('model')
    preprocessor = model.get('data_preprocessor') if isinstance(model, dict) else None
    if isinstance(preprocessor, dict) and preprocessor.get('rgb_to_bgr'):
        raise UserError(
            'expected images that the loader gives as BGR, and model.data_preprocessor.rgb_to_bgr '
            'says RGB: load BGR, the default, and leave rgb_to_bgr out'
        )
    if cfg.get('sync_bn') and split:
        raise UserError(
            "sync_bn would replace the split batch norms: write norm_cfg=dict(type='SyncBN') in "
            'the model, which become split and synchronized ones, and leave sync_bn out'
        )
    hook = make_hook(cfg)
    if load:
        hook.build_attack('cpu')


def check_model(cfg: Config) -> None:
    """Build the model and prepare it, which a run does only after it has logged its config.

    Raises:
        UserError: The model cannot be trained this way.
    """
    prepare_model(build_model(cfg), **settings_of(cfg))


def check_resume(cfg: Config, checkpoint: dict) -> None:
    """Check that a run of this config, adversarial or plain, can go on from a checkpoint.

    Raises:
        UserError: The checkpoint is of another method.
    """
    if 'adversarial' in cfg:
        check_same_method(checkpoint, make_hook(cfg).method(cfg))
    else:
        check_same_method(checkpoint)


def pad_values(nodes: list | dict) -> list:
    """What the ``Pad`` transforms in parts of a config fill images with."""
    values = []
    for _, node in walk(nodes, ''):
        if type_name(node) == 'Pad':
            value = node.get('pad_val', 0)
            value = value.get('img', 0) if isinstance(value, dict) else value
            values.append(tuple(value) if isinstance(value, (list, tuple)) else value)
    return list(dict.fromkeys(values))


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
