"""TensorFlow-style "same" padding and the two convolution blocks that EfficientDet is made of.

Paddings follow https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding: a layer of
stride s turns n pixels into ceil(n / s), and of an odd number of padded pixels the last side gets
one more.
"""

import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmdet.registry import MODELS
from torch import Tensor, nn

# TensorFlow's momentum of 0.99 is 0.01 here.
BATCH_NORM = dict(type='BN', momentum=0.01, eps=1e-3)


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Pixels to add before and after an axis that is to come out ``ceil(size / stride)`` long."""
    covered = (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1
    total = max(covered - size, 0)
    return total // 2, total - total // 2


@MODELS.register_module()
class Conv2dSamePadding(nn.Conv2d):
    """Convolution of (N, C, H, W) to (N, C', ceil(H / stride), ceil(W / stride)).

    Takes the arguments of ``nn.Conv2d``. ``padding`` is accepted, because ``ConvModule`` always
    passes it, and has no effect: the padding follows from the size of the input.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, 0, dilation, groups, bias)

    def forward(self, x: Tensor) -> Tensor:
        (top, bottom), (left, right) = map(
            same_padding, x.shape[-2:], self.kernel_size, self.stride, self.dilation)
        if (top, left) != (bottom, right):
            x = F.pad(x, (left, right, top, bottom))
            top = left = 0
        # An even padding is left to the convolution, which spares a copy of the feature map.
        return F.conv2d(
            x, self.weight, self.bias, self.stride, (top, left), self.dilation, self.groups)


def max_pool_same(x: Tensor) -> Tensor:
    """Halve (N, C, H, W) with a 3 x 3 max pool of stride 2 over zero-padded features.

    TensorFlow pads a max pool with minus infinity. Zeros are what MMDetection's EfficientDet, and
    with it the published checkpoints, use.
    """
    (top, bottom), (left, right) = (same_padding(size, kernel=3, stride=2) for size in x.shape[-2:])
    return F.max_pool2d(F.pad(x, (left, right, top, bottom)), kernel_size=3, stride=2)


class SeparableConv(nn.Module):
    """Depthwise 3 x 3 and pointwise 1 x 1 convolution, and a norm layer if ``norm_cfg`` is given.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output, which has the input's height and width.
        norm_cfg (dict, optional): Config of the norm layer. Defaults to None.
    """

    def __init__(self, in_channels: int, out_channels: int, norm_cfg: dict | None = None) -> None:
        super().__init__()
        self.depthwise_conv = Conv2dSamePadding(
            in_channels, in_channels, 3, groups=in_channels, bias=False)
        self.pointwise_conv = Conv2dSamePadding(in_channels, out_channels, 1)
        self.bn = build_norm_layer(norm_cfg, out_channels)[1] if norm_cfg else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.pointwise_conv(self.depthwise_conv(x)))


class ChannelReduction(nn.Module):
    """1 x 1 convolution and norm layer, which bring a backbone level to the width of the BiFPN.

    Args:
        in_channels (int): Channels of the backbone level.
        out_channels (int): Channels of the BiFPN.
        norm_cfg (dict): Config of the norm layer.
    """

    def __init__(self, in_channels: int, out_channels: int, norm_cfg: dict) -> None:
        super().__init__()
        self.down_conv = Conv2dSamePadding(in_channels, out_channels, 1)
        self.bn = build_norm_layer(norm_cfg, out_channels)[1]

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.down_conv(x))
