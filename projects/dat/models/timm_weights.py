"""Checkpoints of timm's classifiers (https://github.com/huggingface/pytorch-image-models), with
which the released models of DAT were trained, under MMPretrain's names."""

import argparse
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from projects.dat.runtime.errors import UserError
from projects.dat.runtime.preflight.weights import read_checkpoint

# Where training scripts put the weights. The averaged ones come first: timm's script chose its best
# checkpoint by them.
NESTED = ('state_dict_ema', 'state_dict', 'model')
# ImageNet's statistics for images in 0..1, with which all of these models normalize.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
# The first layer tells the architectures apart: key, width and kernel.
STEMS = {
    'resnet50': ('conv1.weight', 64, 7),
    'vit-b16': ('patch_embed.proj.weight', 768, 16),
    'vit-h14': ('patch_embed.proj.weight', 1280, 14),
}
_VIT = [
    (r'patch_embed\.proj\.', 'patch_embed.projection.'),
    (r'blocks\.(\d+)\.norm', r'layers.\1.ln'),
    (r'blocks\.(\d+)\.attn\.', r'layers.\1.attn.'),
    (r'blocks\.(\d+)\.mlp\.fc1\.', r'layers.\1.ffn.layers.0.0.'),
    (r'blocks\.(\d+)\.mlp\.fc2\.', r'layers.\1.ffn.layers.1.'),
    (r'norm\.', 'ln1.'),
    (r'fc_norm\.', 'ln2.'),
]


def read_timm(source: str) -> dict[str, Tensor]:
    """Read the weights of a checkpoint in timm's layout; nothing in it is executed.

    They may lie under ``state_dict_ema``, ``state_dict`` or ``model``, and behind the prefixes of
    a parallel wrapper (``module.``) and of the released code's ``Sequential(normalize, model)``
    (``1.``, beside ``0.mean`` and ``0.std``).

    Args:
        source (str): A file or a URL.

    Returns:
        dict[str, Tensor]: By timm's names.

    Raises:
        UserError: It cannot be had or read, holds no weights, or normalizes images with other
            statistics than ImageNet's.
    """
    # timm's and MAE's scripts save their arguments beside the weights.
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = read_checkpoint(
            source, 'checkpoint', "give a whole checkpoint of timm's training script"
        )
    nested = (content[key] for key in NESTED if isinstance(content.get(key), Mapping))
    weights = {
        str(key).removeprefix('module.'): value
        for key, value in next(nested, content).items()
        if isinstance(value, Tensor)
    }
    if not weights:
        raise UserError(
            f'{source}: expected weights by name, at the top or under {", ".join(NESTED)}, found '
            f'{", ".join(map(str, list(content)[:3])) or "nothing"}: give a checkpoint of timm\'s '
            'training script'
        )
    if {'0.mean', '0.std'} <= weights.keys():
        for key, expected in (('0.mean', MEAN), ('0.std', STD)):
            found = tuple(round(value, 3) for value in weights.pop(key).flatten().tolist())
            if found != expected:
                raise UserError(
                    f'{source}: expected a model that normalizes images with the {key[2:]} '
                    f'{expected}, found {found}: no config here fits these weights'
                )
        weights = {key.removeprefix('1.'): value for key, value in weights.items()}
    return weights


def architecture_of(weights: Mapping[str, Tensor]) -> str | None:
    """Which of the :data:`STEMS` weights by timm's names are of; None where it is none of them."""
    for name, (key, width, kernel) in STEMS.items():
        if key in weights and weights[key].shape == (width, 3, kernel, kernel):
            return name
    return None


def rename_timm(weights: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Give a classifier's weights MMPretrain's names.

    Args:
        weights (Mapping): By timm's names, of a ``ResNet`` or ``VisionTransformer``.
        model (nn.Module): An ``ImageClassifier`` of the same architecture; it stays as it is and
            tells which keys and shapes there have to be.

    Returns:
        dict[str, Tensor]: The state dict of ``model``, complete.

    Raises:
        UserError: A key finds no place, a place stays empty, or a shape differs.
    """
    expected = model.state_dict()
    # Each head is a single layer, whatever MMPretrain calls it.
    head = next(key for key in expected if re.fullmatch(r'head\..*weight', key))[: -len('weight')]
    renamed = {_rename(key, head): (key, value) for key, value in weights.items()}
    problems = {
        'which has no place': [key for name, (key, _) in renamed.items() if name not in expected],
        'which is missing': [name for name in expected if name not in renamed],
        'of another shape': [
            f'{key} {tuple(value.shape)} instead of {tuple(expected[name].shape)}'
            for name, (key, value) in renamed.items()
            if name in expected and value.shape != expected[name].shape
        ],
    }
    for problem, keys in problems.items():
        if keys:
            more = f' (and {len(keys) - 1} more)' if len(keys) > 1 else ''
            raise UserError(
                f'expected the {len(expected)} tensors of a {type(model.backbone).__name__}, found '
                f'{len(weights)} and among them {keys[0]}, {problem}{more}: convert a checkpoint '
                'of this architecture'
            )
    return {name: renamed[name][1] for name in expected}


def _rename(key: str, head: str) -> str:
    if re.match(r'(fc|head)\.', key):
        return re.sub(r'^(fc|head)\.', head, key)
    for pattern, name in _VIT:
        if re.match(pattern, key):
            return f'backbone.{re.sub(pattern, name, key, count=1)}'
    return f'backbone.{key}'  # a ResNet's layers are called alike
