"""The models of a benchmark, a plain and an adversarial one."""

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import HOOKS, MODELS, init_default_scope
from torch import nn

from projects.dat.attacks.base import Attack
from projects.dat.runtime.config import type_name, walk
from projects.dat.runtime.errors import UserError
from projects.dat.runtime.preflight.model import BIFPN_STRIDE, check_amp
from projects.dat.tokenizer import Tokenizer
from projects.dat.training import apply_adversarial
from projects.dat.training.split_bn import set_route, split_batch_norms

ATTACK = Path(__file__).parents[3] / 'configs/_base_/attacks/dat.py'
_STRIDE = 32  # of the coarsest map that nearly every backbone has


@dataclass
class Trainee:
    """A model and its optimizer.

    Attributes:
        model: In training mode, on its device.
        optimizer: With a learning rate of 0: every step does all of its work, and the next one
            meets the same weights.
    """

    model: nn.Module
    optimizer: OptimWrapper

    def step(self, data: dict) -> None:
        """One training step, as MMEngine's training loops take it."""
        self.model.train_step(data, self.optimizer)


class Detector:
    """A detector from a config, built twice, with random weights.

    Args:
        cfg: MMDetection's; its own ``adversarial`` part and its data are not looked at.
        device: Where both models live.
        seed: Of the weights.

    Attributes:
        plain: With the config's data preprocessor, which pads and augments nothing here.
        adversarial: With the fragment ``configs/_base_/attacks/dat.py`` applied.

    Raises:
        UserError: The config is for mixed precision and the device cannot, or needs masks, or has
            an attack in its model already.
    """

    def __init__(self, cfg: Config, device: torch.device, seed: int):
        check_amp(cfg)
        if any(path.endswith('mask_head') for path, _ in walk(cfg.model, 'model')):
            raise UserError(
                f'{cfg.filename} trains masks, and the batches made here have boxes only: give the '
                'config of a box detector'
            )
        if 'Adversarial' in type_name(cfg.model.data_preprocessor):
            raise UserError(
                f'{cfg.filename} was saved by an adversarial run and holds its changes of the '
                'model: give the config that the run was started with'
            )
        init_default_scope(cfg.get('default_scope') or 'mmdet')
        cfg = copy.deepcopy(cfg)
        cfg.pop('adversarial', None)
        for _, node in walk(cfg.model, 'model'):
            inits = node.get('init_cfg') or []
            inits = inits if isinstance(inits, list) else [inits]
            if any(type_name(init) == 'Pretrained' for init in inits):
                node['init_cfg'] = None
        cfg.model.data_preprocessor.update(pad_size_divisor=1, batch_augments=None)
        self.plain = _build(cfg, device, seed)
        adversarial = copy.deepcopy(cfg)
        adversarial.merge_from_dict(Config.fromfile(ATTACK).to_dict())
        apply_adversarial(adversarial)
        self.adversarial = _build(adversarial, device, seed)
        set_route(split_batch_norms(self.adversarial.model), 'split')
        self._hook = next(
            hook for hook in adversarial.custom_hooks if hook.type == 'AdversarialTrainingHook'
        )
        self.rgb = cfg.model.data_preprocessor.get('bgr_to_rgb', False)
        self.device = device

    def attack(self, tokenizer: Tokenizer) -> tuple[Attack, str]:
        """The fragment's attack with another tokenizer, and the losses that it raises."""
        cfg = copy.deepcopy(self._hook)
        cfg.update(tokenizer=None, attack=dict(cfg.attack, tokenizer=tokenizer))
        hook = HOOKS.build(cfg)
        return hook.build_attack(self.device), hook.loss_pattern


def _build(cfg: Config, device: torch.device, seed: int) -> Trainee:
    torch.manual_seed(seed)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model = revert_sync_batchnorm(model).to(device).train()
    wrapper = copy.deepcopy(cfg.optim_wrapper)
    wrapper.optimizer.lr = 0.0
    return Trainee(model, build_optim_wrapper(model, wrapper))


def check_sizes(cfg: Config, sizes: list[int], batches: list[int]) -> None:
    """Compare the sizes with the strides of a detector.

    Raises:
        UserError: A size does not fit.
    """
    kinds = {type_name(node) for _, node in walk(cfg.model, 'model')}
    bifpn = bool(kinds & {'EfficientDet', 'BiFPN'})
    stride = BIFPN_STRIDE if bifpn else _STRIDE
    for size in sizes:
        if size < 1 or size % stride:
            raise UserError(
                f'{cfg.filename} needs image sizes that are multiples of {stride}, but --sizes has '
                f'{size}: use {max(1, round(size / stride)) * stride}'
            )
    if bifpn and BIFPN_STRIDE in sizes and 1 in batches:
        raise UserError(
            f"EfficientDet's coarsest map of a {BIFPN_STRIDE} px image is one value, of which "
            'batch norm can make no variance: use --batches of at least 2 or larger --sizes'
        )
