"""The head: what is shared between levels, what is not, and how losses are normalized."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

STRIDES = [8, 16]


def build_head(**kwargs):
    cfg = ConfigDict(
        type='EfficientDetSepBNHead',
        num_classes=3,
        num_ins=len(STRIDES),
        in_channels=4,
        feat_channels=6,
        stacked_convs=2,
        anchor_generator=dict(
            type='AnchorGenerator', octave_base_scale=4, scales_per_octave=1, ratios=[1.0],
            strides=STRIDES),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True),
        loss_bbox=dict(type='HuberLoss', beta=0.1, loss_weight=50.0),
        train_cfg=dict(
            assigner=dict(
                type='MaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.7, min_pos_iou=0.0,
                ignore_iof_thr=-1),
            sampler=dict(type='PseudoSampler'), allowed_border=-1, pos_weight=-1, debug=False))
    cfg.update(kwargs)
    return MODELS.build(cfg)


@pytest.fixture
def feats():
    generator = torch.Generator().manual_seed(3)
    return tuple(torch.randn(2, 4, 64 // s, 64 // s, generator=generator) for s in STRIDES)


def test_shapes_and_prior(feats):
    head = build_head().eval()
    head.init_weights()
    scores, deltas = head(feats)
    assert [s.shape for s in scores] == [(2, 3, 8, 8), (2, 3, 4, 4)]
    assert [d.shape for d in deltas] == [(2, 4, 8, 8), (2, 4, 4, 4)]
    with torch.no_grad():
        for conv in (head.cls_header, head.reg_header):
            conv.pointwise_conv.weight.zero_()
    scores, deltas = head(feats)
    assert scores[0].sigmoid().flatten().tolist() == pytest.approx([0.01] * scores[0].numel())
    assert deltas[0].abs().max() == 0


def test_convolutions_are_shared_and_norms_are_not(feats):
    head = build_head().eval()
    same = (feats[0], feats[0])
    scores, _ = head(same)
    assert torch.equal(scores[0], scores[1])
    head.cls_bn_list[0][1].running_mean += 1
    after, deltas = head(same)
    assert torch.equal(after[0], scores[0]) and not torch.allclose(after[1], scores[1])
    assert torch.equal(deltas[0], deltas[1])


def test_train_mode_gathers_statistics_of_each_level(feats):
    head = build_head().train()
    head((feats[0], feats[1] + 5))
    means = [head.cls_bn_list[0][level].running_mean for level in range(2)]
    assert not torch.allclose(*means)


@pytest.mark.parametrize('ranks_mean, divisor', [(1.0, 1), (4.0, 4), (0.25, 1)])
def test_losses_are_divided_by_the_positives_of_all_ranks(monkeypatch, ranks_mean, divisor):
    """One image whose only box is an anchor, with neighbors of IoU 0.6: one positive here."""
    head = build_head()
    scores = [torch.zeros(1, 3, 64 // s, 64 // s) for s in STRIDES]
    deltas = [torch.full((1, 4, 64 // s, 64 // s), 1.1) for s in STRIDES]
    box = head.prior_generator.grid_priors([(8, 8), (4, 4)], device='cpu')[0][27:28]
    instances = InstanceData(bboxes=box, labels=torch.tensor([1]))
    monkeypatch.setattr(
        'projects.dat.models.sepbn_head.reduce_mean', lambda count: count * ranks_mean)
    meta = dict(img_shape=(64, 64), pad_shape=(64, 64), batch_input_shape=(64, 64))
    losses = head.loss_by_feat(scores, deltas, [instances], [meta])
    # The target deltas are zero: 50 * 4 * 0.1 * (1.1 - 0.05) over 4 coordinates.
    assert sum(losses['loss_bbox']).item() == pytest.approx(5.25 / divisor, rel=1e-4)


def test_levels_must_agree(feats):
    with pytest.raises(ValueError, match='2 strides in anchor_generator for num_ins=5'):
        build_head(num_ins=5)
    with pytest.raises(ValueError, match='expects 2 pyramid levels, found 1'):
        build_head()(feats[:1])
