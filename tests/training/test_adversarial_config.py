from pathlib import Path

import pytest
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from projects.dat.training import AdversarialDetDataPreprocessor, SplitBN, apply_adversarial

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def build(cfg):
    init_default_scope('mmdet')
    if 'init_cfg' in cfg.model.backbone:
        cfg.model.backbone.init_cfg = None
    return MODELS.build(cfg.model)


@pytest.mark.parametrize(
    'name', ['dat_efficientdet_512', 'dat_retinanet_r18_512', 'dat_rtmdet_tiny_512']
)
def test_every_batch_norm_splits_and_the_weights_stay(name):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    apply_adversarial(cfg)
    model = build(cfg)
    plain = build(Config.fromfile(CONFIGS / f'{name.removeprefix("dat_")}.py'))
    assert isinstance(model.data_preprocessor, AdversarialDetDataPreprocessor)
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms and all(isinstance(norm, SplitBN) for norm in norms)
    assert list(model.state_dict()) == list(plain.state_dict())


@pytest.mark.parametrize(
    'base',
    [
        'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py',
        'mmdet::yolox/yolox_tiny_8xb8-300e_coco.py',
        'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    ],
)
def test_any_config_of_mmdetection_takes_the_fragment(tmp_path, base):
    """One that has hooks and one that has none, one with a normalization and one without."""
    fragment = CONFIGS / '_base_/attacks/dat.py'
    (tmp_path / 'dat.py').write_text(f'_base_ = [{base!r}, {str(fragment)!r}]\n')
    cfg = Config.fromfile(tmp_path / 'dat.py')
    hooks = len(cfg.get('custom_hooks', []))
    mean = cfg.model.data_preprocessor.get('mean')
    apply_adversarial(cfg)
    assert 'adversarial' not in cfg
    assert cfg.model.data_preprocessor.type == 'AdversarialDetDataPreprocessor'
    assert cfg.model.data_preprocessor.get('mean') == mean
    added = [hook.type for hook in cfg.custom_hooks[hooks:]]
    assert added == ['AdversarialTrainingHook', 'RandomStateHook', 'AttackVisualizationHook']


def test_roi_heads_keep_their_batch_norm():
    norm = dict(type='BN', requires_grad=True)
    cfg = Config(
        dict(
            model=dict(
                backbone=dict(norm_cfg=norm),
                roi_head=dict(bbox_head=dict(norm_cfg=norm)),
                blocks=[dict(norm_cfg=norm), dict(norm_cfg=dict(type='GN', num_groups=8))],
            ),
            adversarial=dict(data_preprocessor=dict(type='X'), split_bn='aux'),
        )
    )
    apply_adversarial(cfg)
    assert cfg.model.backbone.norm_cfg == dict(type='SplitBN', requires_grad=True, split='aux')
    assert cfg.model.roi_head.bbox_head.norm_cfg == norm
    assert [b.norm_cfg.type for b in cfg.model.blocks] == ['SplitBN', 'GN']


def test_a_plain_config_stays_as_it_is():
    cfg = Config.fromfile(CONFIGS / 'efficientdet_512.py')
    before = cfg.pretty_text
    apply_adversarial(cfg)
    assert cfg.pretty_text == before
