"""BiFPN: weighted features that travel down and up the pyramid (arXiv:1911.09070, section 3)."""

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from projects.dat.runtime.errors import ArgumentError

from .layers import BATCH_NORM, ChannelReduction, SeparableConv, max_pool_same

# Of P3 (stride 8) to P7 (stride 128), P7 has no node on the way down and P3 none on the way up.
TOP_DOWN = (6, 5, 4, 3)
BOTTOM_UP = (4, 5, 6, 7)


class BiFPNLayer(nn.Module):
    """One pass down and one pass up the pyramid (figure 2d of the paper).

    Every node blends its inputs by fast normalized fusion, ``sum_i w_i x_i / (epsilon + sum_j
    w_j)`` with ``w = relu(parameter)`` (section 3.3), and applies swish, a separable convolution
    and a norm layer. Attributes bear the names of the published checkpoints: ``p{level}_w1`` and
    ``conv{level}_up`` on the way down, ``p{level}_w2`` and ``conv{level}_down`` on the way up.

    Args:
        channels (int): Channels of every level.
        norm_cfg (dict): Config of the norm layers.
        epsilon (float): Keeps the sum of the weights from zero.
    """

    def __init__(self, channels: int, norm_cfg: dict, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        for level in TOP_DOWN:
            self.register_parameter(f'p{level}_w1', nn.Parameter(torch.ones(2)))
            self.add_module(f'conv{level}_up', SeparableConv(channels, channels, norm_cfg))
        for level in BOTTOM_UP:
            num_inputs = 2 if level == 7 else 3
            self.register_parameter(f'p{level}_w2', nn.Parameter(torch.ones(num_inputs)))
            self.add_module(f'conv{level}_down', SeparableConv(channels, channels, norm_cfg))

    def forward(self, features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """P3 to P7, each (N, channels, h, w) of half the size of the one before, to the same."""
        down_inputs, up_inputs = self.node_inputs(features)
        down = {7: down_inputs[7]}
        for level in TOP_DOWN:
            above = F.interpolate(down[level + 1], scale_factor=2, mode='nearest')
            down[level] = self.fuse(
                f'p{level}_w1', f'conv{level}_up', down_inputs[level], above)
        up = {3: down[3]}
        for level in BOTTOM_UP:
            middle = [] if level == 7 else [down[level]]
            below = max_pool_same(up[level - 1])
            up[level] = self.fuse(
                f'p{level}_w2', f'conv{level}_down', up_inputs[level], *middle, below)
        return tuple(up.values())

    def node_inputs(
        self, features: tuple[Tensor, ...]
    ) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """What enters each level on the way down, and on the way up."""
        levels = dict(zip(range(3, 8), features, strict=True))
        return levels, levels

    def fuse(self, weight: str, conv: str, *inputs: Tensor) -> Tensor:
        """One node: inputs of one shape (N, channels, h, w), blended and convolved."""
        weights = getattr(self, weight).relu()
        weights = weights / (weights.sum() + self.epsilon)
        blend = sum(w * x for w, x in zip(weights, inputs, strict=True))
        return getattr(self, conv)(F.silu(blend))


class FirstBiFPNLayer(BiFPNLayer):
    """The layer that takes P3 to P5 from the backbone and makes P6 and P7 of P5.

    P4 and P5 are reduced to ``channels`` twice, with separate weights for the two ways.

    Args:
        in_channels (list[int]): Channels of P3, P4 and P5.
        channels (int): Channels of every level that comes out.
        norm_cfg (dict): Config of the norm layers.
        epsilon (float): Keeps the sum of the weights from zero.
    """

    def __init__(
        self, in_channels: list[int], channels: int, norm_cfg: dict, epsilon: float
    ) -> None:
        super().__init__(channels, norm_cfg, epsilon)
        c3, c4, c5 = in_channels
        self.p3_down_channel = ChannelReduction(c3, channels, norm_cfg)
        self.p4_down_channel = ChannelReduction(c4, channels, norm_cfg)
        self.p5_down_channel = ChannelReduction(c5, channels, norm_cfg)
        self.p4_level_connection = ChannelReduction(c4, channels, norm_cfg)
        self.p5_level_connection = ChannelReduction(c5, channels, norm_cfg)
        # A sequence of one, because the published key is p5_to_p6.0.
        self.p5_to_p6 = nn.Sequential(ChannelReduction(c5, channels, norm_cfg))

    def node_inputs(
        self, features: tuple[Tensor, ...]
    ) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        p3, p4, p5 = features
        p6 = max_pool_same(self.p5_to_p6(p5))
        down = {
            3: self.p3_down_channel(p3),
            4: self.p4_down_channel(p4),
            5: self.p5_down_channel(p5),
            6: p6,
            7: max_pool_same(p6),
        }
        up = down | {4: self.p4_level_connection(p4), 5: self.p5_level_connection(p5)}
        return down, up


@MODELS.register_module()
class BiFPN(BaseModule):
    """A stack of BiFPN layers: P3, P4 and P5 of a backbone to P3 ... P7 of one width.

    Takes the arguments of the configs of MMDetection's EfficientDet project, and has its state-dict
    layout. The sides of P3 must be divisible by 16, which is 128 for those of the image.

    Args:
        num_stages (int): Number of layers, D_bifpn in table 1 of the paper.
        in_channels (list[int]): Channels of P3, P4 and P5.
        out_channels (int): Channels of every level, W_bifpn in table 1.
        start_level (int): Index of P3 among the inputs. Defaults to 0.
        epsilon (float): Keeps the sum of the fusion weights from zero. Defaults to 1e-4.
        norm_cfg (dict): Config of the norm layers.
            Defaults to dict(type='BN', momentum=0.01, eps=1e-3).
        init_cfg (dict | list[dict], optional): Initialization config. Defaults to None.
    """

    def __init__(
        self,
        num_stages: int,
        in_channels: list[int],
        out_channels: int,
        start_level: int = 0,
        epsilon: float = 1e-4,
        norm_cfg: dict = BATCH_NORM,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if len(in_channels) != 3:
            raise ArgumentError(
                f'BiFPN expects the channels of three backbone levels, P3 to P5, in in_channels, '
                f'found {len(in_channels)}: choose out_indices and in_channels to match.')
        self.start_level = start_level
        self.bifpn = nn.Sequential(
            FirstBiFPNLayer(in_channels, out_channels, norm_cfg, epsilon),
            *(BiFPNLayer(out_channels, norm_cfg, epsilon) for _ in range(num_stages - 1)))

    def forward(self, feats: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Backbone levels (N, C_i, h_i, w_i) to P3 ... P7 (N, out_channels, h_i, w_i)."""
        return self.bifpn(feats[self.start_level:])
