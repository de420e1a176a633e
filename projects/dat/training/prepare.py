"""From a built model to one that can be trained adversarially."""

import logging
from collections.abc import Sequence

from mmengine.model import BaseModel
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from projects.dat.runtime.errors import UserError

from .preprocessors import SECOND_VIEW, make_adversarial
from .split_bn import SplitBN


def prepare_model(
    model: BaseModel,
    assembly: str = 'concat',
    share: float = 1.0,
    split_bn: str | None = 'clean',
    keep_bn: Sequence[str] = ('roi_head',),
    pad_values: Sequence = (),
    views: Sequence[int] = SECOND_VIEW,
    logger: logging.Logger | None = None,
) -> BaseModel:
    """Give a model's data preprocessor an attack and split its batch norms, in place.

    Args:
        model (BaseModel): From MMDetection or MMPretrain.
        assembly (str): See :class:`AdversarialMixin`. Defaults to 'concat'.
        share (float): See :class:`AdversarialMixin`. Defaults to 1.
        split_bn (str, optional): How the clean and the adversarial part of a batch share batch
            norms: 'clean', 'shared' or 'aux', see :class:`SplitBN`; None for plain batch norm over
            both. Models of self-supervision keep plain ones, whatever this says: their batch norms
            see a view at a time (SimSiam, MoCo-v3) or the views of each image in turns (SimCLR),
            never a clean part and then an adversarial one. Defaults to 'clean'.
        keep_bn (Sequence[str]): Prefixes of modules whose batch norms stay as they are. Defaults to
            RoI heads, whose samples are not the batch's images.
        pad_values (Sequence): See :class:`AdversarialMixin`. Defaults to ().
        views (Sequence[int]): See :class:`AdversarialMixin`. Defaults to (1,).
        logger (logging.Logger, optional): Where warnings go. Defaults to None.

    Returns:
        BaseModel: ``model``.

    Raises:
        UserError: The model cannot be trained this way.
    """
    model.data_preprocessor = make_adversarial(
        model.data_preprocessor, assembly, share, pad_values, views
    )
    if split_bn is None or not model.data_preprocessor.ONE_BATCH:
        return model
    if assembly == 'replace' and share == 1 and split_bn != 'shared':
        raise UserError(
            f"split_bn={split_bn!r} needs clean images, and assembly='replace' with share=1 "
            "leaves none: use assembly='concat', a smaller share or split_bn='shared'"
        )
    found = SplitBN.convert(model, split_bn, keep_bn)
    others = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and not isinstance(module, SplitBN)
        and not name.endswith('.aux') and not name.startswith(tuple(keep_bn))
    ]
    if split_bn == 'aux':
        _check_auxiliary(model, found, [pair for pair in others if not pair[1].training])
    joint = [name for name, module in others if module.training]
    if joint and logger is not None:
        logger.warning(
            f'{len(joint)} batch norms such as {joint[0]} take their statistics over clean and '
            'adversarial images together'
        )
    return model


def _check_auxiliary(
    model: nn.Module, found: list[str], frozen: list[tuple[str, nn.Module]]
) -> None:
    if frozen:
        raise UserError(
            f"split_bn='aux' needs batch norms that train, but {len(frozen)} such as "
            f'{frozen[0][0]} are frozen: thaw them {_how_to_thaw(model, frozen)}'
        )
    if not found:
        raise UserError(
            f"split_bn='aux' asks for auxiliary batch norms, but {type(model).__name__} has no "
            'batch norm that trains: choose a model with batch norms, or adversarial.split_bn=None '
            'where clean and adversarial images shall share everything'
        )


def _how_to_thaw(model: nn.Module, frozen: list[tuple[str, nn.Module]]) -> str:
    """By the options that freeze these layers, as the modules above them have them."""
    options = []
    for name, owner in model.named_modules():
        if not any(layer.startswith(f'{name}.') for layer, _ in frozen):
            continue
        if getattr(owner, 'norm_eval', False):
            options.append(f'model.{name}.norm_eval=False')
        if isinstance(stages := getattr(owner, 'frozen_stages', None), int) and stages >= 0:
            options.append(f'model.{name}.frozen_stages=-1')
    if not options:
        return f'in {type(model).__name__}, or name them in adversarial.keep_bn'
    return f'with --cfg-options {" ".join(options)}'
