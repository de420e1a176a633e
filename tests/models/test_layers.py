"""TensorFlow's SAME padding, against TensorFlow's rule written out tap by tap."""

import math

import pytest
import torch
from mmcv.cnn import ConvModule, build_conv_layer

from projects.dat.models.layers import Conv2dSamePadding, max_pool_same, same_padding


def tap(index: int, k: int, size: int, kernel: int, stride: int, dilation: int) -> int:
    """Input pixel, perhaps outside, that tap k of output pixel ``index`` reads."""
    padding = max((math.ceil(size / stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return index * stride + k * dilation - padding // 2


def convolve(x, weight, stride, dilation):
    """Convolution with SAME padding of (C, H, W) by (C', C, kh, kw), one product at a time."""
    _, height, width = x.shape
    kh, kw = weight.shape[-2:]
    out = torch.zeros(
        len(weight), math.ceil(height / stride[0]), math.ceil(width / stride[1]), dtype=x.dtype)
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            for k in range(kh):
                for m in range(kw):
                    row = tap(i, k, height, kh, stride[0], dilation[0])
                    col = tap(j, m, width, kw, stride[1], dilation[1])
                    if 0 <= row < height and 0 <= col < width:
                        out[:, i, j] += weight[:, :, k, m] @ x[:, row, col]
    return out


@pytest.mark.parametrize('size', [(8, 8), (7, 9), (5, 6), (1, 4)])
@pytest.mark.parametrize('kernel, stride, dilation', [
    ((1, 1), (1, 1), (1, 1)),
    ((3, 3), (1, 1), (1, 1)),
    ((3, 3), (2, 2), (1, 1)),
    ((5, 5), (2, 2), (1, 1)),
    ((3, 5), (1, 2), (1, 1)),
    ((2, 4), (1, 1), (1, 1)),
    ((1, 1), (2, 2), (1, 1)),
    ((3, 3), (1, 1), (2, 2)),
    ((3, 3), (2, 1), (2, 3)),
])
def test_conv_follows_tensorflow(size, kernel, stride, dilation):
    generator = torch.Generator().manual_seed(0)
    conv = Conv2dSamePadding(2, 3, kernel, stride, dilation=dilation, bias=False).double()
    x = torch.randn(2, *size, dtype=torch.float64, generator=generator)
    torch.testing.assert_close(
        conv(x[None])[0], convolve(x, conv.weight.detach(), stride, dilation))


@pytest.mark.parametrize('size, kernel, stride, expected', [
    # The example that explains SAME in TensorFlow's documentation: 13 wide, filter 6, stride 5.
    (13, 6, 5, (1, 2)),
    (512, 3, 2, (0, 1)),
    (511, 3, 2, (1, 1)),
    (512, 5, 1, (2, 2)),
    (7, 1, 2, (0, 0)),
])
def test_padding_known_by_hand(size, kernel, stride, expected):
    assert same_padding(size, kernel, stride) == expected


def test_conv_module_builds_it_and_its_padding_has_no_effect():
    module = ConvModule(
        4, 6, 3, stride=2, padding=1, groups=2, conv_cfg=dict(type='Conv2dSamePadding'),
        norm_cfg=dict(type='BN'))
    assert isinstance(module.conv, Conv2dSamePadding)
    assert module(torch.randn(2, 4, 15, 16)).shape == (2, 6, 8, 8)

    x = torch.randn(1, 4, 6, 6)
    plain = build_conv_layer(dict(type='Conv2dSamePadding'), 4, 4, 3, padding=0)
    padded = build_conv_layer(dict(type='Conv2dSamePadding'), 4, 4, 3, padding=1)
    padded.load_state_dict(plain.state_dict())
    torch.testing.assert_close(plain(x), padded(x))


@pytest.mark.parametrize('size', [(8, 8), (7, 6), (1, 2)])
def test_max_pool_pads_with_zeros(size):
    height, width = size
    x = torch.randn(1, 1, height, width, generator=torch.Generator().manual_seed(1)) - 1
    pooled = max_pool_same(x)[0, 0]
    assert pooled.shape == (math.ceil(height / 2), math.ceil(width / 2))
    for i in range(pooled.shape[0]):
        for j in range(pooled.shape[1]):
            rows = [tap(i, k, height, 3, 2, 1) for k in range(3)]
            cols = [tap(j, k, width, 3, 2, 1) for k in range(3)]
            window = [
                x[0, 0, r, c].item() if 0 <= r < height and 0 <= c < width else 0.0
                for r in rows for c in cols]
            assert pooled[i, j].item() == max(window)
