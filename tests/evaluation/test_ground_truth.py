"""Where the boxes and masks of an attacked detector's images are."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from projects.dat.evaluation.ground_truth import loader_for_losses
from projects.dat.evaluation.test_images import clean_loader
from projects.dat.runtime.errors import UserError
from tests.evaluation.bright_boxes import write_case

LOAD = dict(type='LoadImageFromFile')
RESIZE = dict(type='Resize', scale=(96, 60), keep_ratio=True)
STRETCH = dict(type='Resize', scale=(50, 75))
PAD = dict(type='Pad', size=(128, 128))
BOXES = dict(type='LoadAnnotations', with_bbox=True)
MASKS = dict(type='LoadAnnotations', with_bbox=True, with_mask=True, poly2mask=False)
META = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
PACK = dict(type='PackDetInputs', meta_keys=META)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    config, _ = write_case(tmp_path_factory.mktemp('bright'))
    root = config.parent / 'data'
    file = root / 'annotations/instances_val2017.json'
    content = json.loads(file.read_text())
    for entry in content['annotations']:
        x, y, w, h = map(float, entry['bbox'])
        entry['segmentation'] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    file.write_text(json.dumps(content))
    return root


def config(root, pipeline, train=None):
    cfg = Config.fromfile(root.parent / 'bright.py')
    cfg.test_dataloader.dataset.pipeline = pipeline
    if train is not None:
        inner = dict(cfg.test_dataloader.dataset, pipeline=train)
        cfg.train_dataloader = dict(dataset=dict(type='MultiImageMixDataset', dataset=inner,
                                                 pipeline=[PACK]))
    return cfg


def build(loader):
    init_default_scope('mmdet')
    return DATASETS.build(loader['dataset'])


@pytest.mark.parametrize(
    'pipeline, train',
    [
        ([LOAD, RESIZE, BOXES, PACK], None),
        ([LOAD, RESIZE, PACK], None),
        ([LOAD, STRETCH, PACK], [LOAD, BOXES]),
        ([LOAD, RESIZE, PAD, BOXES, PACK], None),
        ([LOAD, BOXES, RESIZE, PACK], None),
        ([LOAD, RESIZE, BOXES, PACK], [LOAD, MASKS]),
    ],
    ids=['after', 'none', 'from-training', 'padded', 'before', 'masks'],
)
def test_boxes_follow_the_image(root, pipeline, train):
    cfg = config(root, pipeline, train)
    content = json.loads((root / 'annotations/instances_val2017.json').read_text())
    attacked, clean = build(loader_for_losses(cfg)), build(clean_loader(cfg))
    assert cfg.test_dataloader.dataset.pipeline == pipeline
    for i, image in enumerate(content['images']):
        found, plain = attacked[i], clean[i]
        assert torch.equal(found['inputs'], plain['inputs'])
        sample = found['data_samples']
        # What CocoMetric needs is as it was.
        assert set(sample.metainfo_keys()) == set(META)
        assert sample.ori_shape == (image['height'], image['width'])
        size = STRETCH['scale'] if STRETCH in pipeline else None
        ratio = min(96 / max(sample.ori_shape), 60 / min(sample.ori_shape))
        size = size or [int(side * ratio + 0.5) for side in (image['width'], image['height'])]
        factor = np.array(size) / (image['width'], image['height'])
        np.testing.assert_allclose(sample.scale_factor, factor)
        boxes = [e['bbox'] for e in content['annotations'] if e['image_id'] == image['id']]
        expected = [[x, y, x + w, y + h] for x, y, w, h in boxes] * np.tile(factor, 2)
        np.testing.assert_allclose(sample.gt_instances.bboxes.tensor, expected, rtol=1e-5)
        assert ('masks' in sample.gt_instances) == bool(train and MASKS in train)
        masks = sample.gt_instances.masks.masks if 'masks' in sample.gt_instances else []
        for box, polygons in zip(expected, masks, strict=False):
            polygon = polygons[0].reshape(-1, 2)
            np.testing.assert_allclose([*polygon.min(0), *polygon.max(0)], box, rtol=1e-5)


def test_images_of_a_classifier_need_nothing():
    pipeline = [LOAD, dict(type='CenterCrop', crop_size=224), dict(type='PackInputs')]
    cfg = Config(dict(
        test_dataloader=dict(dataset=dict(type='ImageNet', pipeline=pipeline)),
        train_dataloader=dict(dataset=dict(type='ImageNet', pipeline=pipeline)),
    ))
    assert loader_for_losses(cfg) == clean_loader(cfg)


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda cfg: cfg.test_evaluator.update(type='VOCMetric'),
         'annotation file of its own.*found VOCMetric at test_evaluator'),
        (lambda cfg: cfg.test_dataloader.dataset.pipeline.pop(0),
         'expected a LoadImageFromFile in test_dataloader.dataset.pipeline.* found Resize, Pack'),
    ],
)
def test_configs_that_cannot_be_attacked(root, change, message):
    cfg = config(root, [LOAD, RESIZE, BOXES, PACK])
    change(cfg)
    with pytest.raises(UserError, match=message):
        loader_for_losses(cfg)
