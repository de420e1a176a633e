"""EfficientDet's head: convolutions shared by all pyramid levels, norm layers of their own."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmdet.models.dense_heads import AnchorHead
from mmdet.models.utils import multi_apply
from mmdet.registry import MODELS
from mmdet.utils import reduce_mean
from mmengine.model import bias_init_with_prob
from torch import Tensor, nn

from projects.dat.runtime.errors import ArgumentError

from .layers import BATCH_NORM, SeparableConv


@MODELS.register_module()
class EfficientDetSepBNHead(AnchorHead):
    """A class and a box tower of separable convolutions (arXiv:1911.09070, section 4.1).

    Takes the arguments of the configs of MMDetection's EfficientDet project, and has its state-dict
    layout. Both losses are divided by the number of positive anchors, averaged over all ranks, and
    the box loss by the four coordinates too.

    Args:
        num_classes (int): Number of classes without background.
        num_ins (int): Number of pyramid levels.
        in_channels (int): Channels of every level.
        feat_channels (int): Channels of the towers.
        stacked_convs (int): Depth of the towers, D_class in table 1 of the paper. Defaults to 3.
        norm_cfg (dict): Config of the norm layers.
            Defaults to dict(type='BN', momentum=0.01, eps=1e-3).
        init_cfg (dict | list[dict], optional): Initialization config. Defaults to None.
        **kwargs: The other arguments of ``AnchorHead``.
    """

    def __init__(
        self,
        num_classes: int,
        num_ins: int,
        in_channels: int,
        feat_channels: int,
        stacked_convs: int = 3,
        norm_cfg: dict = BATCH_NORM,
        init_cfg: dict | list[dict] | None = None,
        **kwargs,
    ) -> None:
        self.num_ins = num_ins
        self.stacked_convs = stacked_convs
        self.norm_cfg = norm_cfg
        super().__init__(
            num_classes=num_classes,
            in_channels=in_channels,
            feat_channels=feat_channels,
            init_cfg=init_cfg,
            **kwargs,
        )
        if self.prior_generator.num_levels != num_ins:
            raise ArgumentError(
                f'EfficientDetSepBNHead expects one anchor stride per pyramid level, found '
                f'{self.prior_generator.num_levels} strides in anchor_generator for '
                f'num_ins={num_ins}.')

    def _init_layers(self) -> None:
        channels = [self.in_channels] + [self.feat_channels] * self.stacked_convs
        self.reg_conv_list = self._convs(channels)
        self.cls_conv_list = self._convs(channels)
        self.reg_bn_list = self._norms()
        self.cls_bn_list = self._norms()
        self.cls_header = SeparableConv(channels[-1], self.num_base_priors * self.cls_out_channels)
        self.reg_header = SeparableConv(channels[-1], self.num_base_priors * 4)

        for conv in (*self.reg_conv_list, *self.cls_conv_list, self.reg_header):
            nn.init.zeros_(conv.pointwise_conv.bias)
        # Every score starts at 0.01, so that the many background anchors do not drown the first
        # steps (RetinaNet, arXiv:1708.02002, section 4.1).
        nn.init.constant_(self.cls_header.pointwise_conv.bias, bias_init_with_prob(0.01))

    @staticmethod
    def _convs(channels: list[int]) -> nn.ModuleList:
        return nn.ModuleList(SeparableConv(*pair) for pair in pairwise(channels))

    def _norms(self) -> nn.ModuleList:
        """Norm layers, indexed by depth, then by level."""
        return nn.ModuleList(
            nn.ModuleList(
                build_norm_layer(self.norm_cfg, self.feat_channels)[1] for _ in range(self.num_ins))
            for _ in range(self.stacked_convs))

    def forward(self, feats: tuple[Tensor, ...]) -> tuple[list[Tensor], list[Tensor]]:
        """Class scores and box deltas of every level (N, in_channels, h, w).

        Returns:
            tuple[list[Tensor], list[Tensor]]: Logits (N, anchors * classes, h, w) and deltas
            (N, anchors * 4, h, w).
        """
        if len(feats) != self.num_ins:
            raise ArgumentError(
                f'EfficientDetSepBNHead expects {self.num_ins} pyramid levels, found {len(feats)}: '
                'set num_ins and the strides of anchor_generator to the number of the neck.')
        return multi_apply(self.forward_single, feats, range(self.num_ins))

    def forward_single(self, feat: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """Class scores and box deltas of one level (N, in_channels, h, w)."""
        cls_feat = self._tower(feat, level, self.cls_conv_list, self.cls_bn_list)
        reg_feat = self._tower(feat, level, self.reg_conv_list, self.reg_bn_list)
        return self.cls_header(cls_feat), self.reg_header(reg_feat)

    @staticmethod
    def _tower(feat: Tensor, level: int, convs: nn.ModuleList, norms: nn.ModuleList) -> Tensor:
        for conv, level_norms in zip(convs, norms, strict=True):
            feat = F.silu(level_norms[level](conv(feat)))
        return feat

    def get_targets(self, anchor_list: list, *args, **kwargs) -> tuple:
        """``AnchorHead``'s targets, with the normalizer averaged over all ranks and at least 1."""
        *targets, positives = super().get_targets(anchor_list, *args, **kwargs)
        positives = torch.tensor(float(positives), device=anchor_list[0][0].device)
        return *targets, max(reduce_mean(positives).item(), 1.0)

    def loss_by_feat_single(self, *args, **kwargs) -> tuple[Tensor, Tensor]:
        """``AnchorHead``'s losses of one level, with the box loss averaged over coordinates too."""
        loss_cls, loss_bbox = super().loss_by_feat_single(*args, **kwargs)
        return loss_cls, loss_bbox / 4
