"""What self-supervised pre-training leaves behind: a backbone, and perhaps its moving average."""

from collections import Counter

from mmengine.model import BaseAveragedModel
from mmpretrain.models.selfsup.base import BaseSelfSupervisor
from torch import nn

from projects.dat.runtime.errors import UserError


def backbone_of(model: nn.Module, source: str, momentum: bool = False) -> tuple[nn.Module, str]:
    """The backbone of a self-supervised model.

    Args:
        model (nn.Module): One of MMPretrain.
        source (str): The config that it is of, for messages.
        momentum (bool): The one of its momentum encoder, which MMPretrain's methods have as moving
            average of backbone and neck. Defaults to False.

    Returns:
        tuple[nn.Module, str]: The backbone and its name in the model.

    Raises:
        UserError: The model is not self-supervised, or has no momentum encoder.
    """
    kind = type(model).__name__
    if not isinstance(model, BaseSelfSupervisor):
        raise UserError(
            f'expected the config of a self-supervised pre-training, found {source} with the model '
            f'{kind}, whose checkpoints need no extraction: start from one with '
            "init_cfg=dict(type='Pretrained', checkpoint=FILE, prefix='backbone')"
        )
    if not momentum:
        return model.backbone, 'backbone'
    for name, part in model.named_children():
        if isinstance(part, BaseAveragedModel) and isinstance(part.module, nn.Sequential):
            return part.module[0], f'{name}.module.0'
    raise UserError(f'{kind} of {source} has no momentum encoder: leave --momentum out')


def tensors_by_part(model: nn.Module, without: str) -> dict[str, int]:
    """How many tensors each part of a model has, but for those of the module ``without``."""
    keys = [key for key in model.state_dict() if not key.startswith(f'{without}.')]
    return dict(Counter(key.partition('.')[0] for key in keys))
