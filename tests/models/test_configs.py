"""The configs: all parse, and those of the detectors build what the papers describe."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config, DictAction
from mmengine.fileio import dump
from mmengine.registry import PARAM_SCHEDULERS

ROOT = Path(__file__).resolve().parents[2]

# Parameters: arXiv:1911.09070, table 2.
EFFICIENTDETS = [
    ('efficientdet_512', 512, 3.9e6),
    ('efficientdet_d1_640', 640, 6.6e6),
    ('efficientdet_d2_768', 768, 8.1e6),
    ('efficientdet_d3_896', 896, 12.0e6),
]
PLAIN = [name for name, *_ in EFFICIENTDETS] + ['retinanet_r18_512', 'rtmdet_tiny_512']


def load(name: str) -> Config:
    return Config.fromfile(ROOT / f'configs/{name}.py')


@pytest.mark.parametrize('path', sorted((ROOT / 'configs').rglob('*.py')), ids=lambda p: p.stem)
def test_parses(path):
    assert len(Config.fromfile(path)) > 0


@pytest.mark.parametrize('name, size, parameters', EFFICIENTDETS)
def test_efficientdet_has_the_published_size(name, size, parameters):
    cfg = load(name)
    model = MODELS.build(cfg.model)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(parameters, rel=0.02)
    assert cfg.model.data_preprocessor.pad_size_divisor == size
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    assert steps['RandomResize'].scale == steps['RandomCrop'].crop_size == (size, size)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        steps = {step.type: step for step in loader.dataset.pipeline}
        assert steps['Resize'].scale == (size, size)


@pytest.mark.parametrize('name', ['efficientdet_512', 'retinanet_r18_512', 'rtmdet_tiny_512'])
def test_a_run_from_scratch_needs_one_option(name):
    cfg = load(name)
    assert cfg.model.backbone.init_cfg.checkpoint.startswith(('https://', 'torchvision://'))
    cfg.merge_from_dict({'model.backbone.init_cfg': DictAction._parse_iterable('None')})
    model = MODELS.build(cfg.model)
    model.init_weights()
    assert all(p.requires_grad and p.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize('name', PLAIN)
def test_norm_layers_are_replaced_by_merging(name):
    cfg = load(name)
    split = dict(norm_cfg=dict(type='InstanceNormStub'))
    parts = [part for part in ('backbone', 'neck', 'bbox_head') if 'norm_cfg' in cfg.model[part]]
    before = {part: dict(cfg.model[part].norm_cfg) for part in parts}
    cfg.merge_from_dict(dict(model={part: split for part in parts}))
    for part in parts:
        assert cfg.model[part].norm_cfg == before[part] | split['norm_cfg']


@pytest.mark.parametrize('max_epochs', [1, 2, 300])
def test_schedule_warms_up_and_ends_at_zero(max_epochs):
    epoch = 50
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedulers = []
    for cfg in load('efficientdet_512').param_scheduler:
        cfg.setdefault('end', max_epochs)
        assert cfg.pop('convert_to_iter_based')
        kind = PARAM_SCHEDULERS.get(cfg.pop('type'))
        schedulers.append(kind.build_iter_from_epoch(
            optimizer=optimizer, epoch_length=epoch, **cfg))
    rates = []
    for _ in range(max_epochs * epoch):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    peak = int(np.argmax(rates))
    assert rates[0] == pytest.approx(0.1)
    assert 0 < peak <= epoch
    assert rates[-1] < 0.01
    assert (np.diff(rates[peak:]) < 0).all()


@pytest.fixture
def coco_folder(tmp_path):
    """Two images of one box each, of a class that COCO does not know, in COCO's layout."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i, (height, width) in enumerate([(60, 90), (120, 70)]):
        for split in ('train2017', 'val2017'):
            path = tmp_path / split / f'{i}.png'
            path.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(path), rng.integers(0, 255, (height, width, 3), dtype=np.uint8))
        images.append(dict(id=i, file_name=f'{i}.png', height=height, width=width))
        annotations.append(dict(
            id=i + 1, image_id=i, category_id=7, bbox=[5, 5, 50, 50], area=2500, iscrowd=0))
    (tmp_path / 'annotations').mkdir()
    for split in ('train2017', 'val2017'):
        dump(dict(images=images, annotations=annotations, categories=[dict(id=7, name='gadget')]),
             tmp_path / f'annotations/instances_{split}.json')
    return tmp_path


@pytest.mark.parametrize('name', ['efficientdet_512', 'efficientdet_d1_640', 'rtmdet_tiny_512'])
def test_only_the_data_root_changes(name, coco_folder):
    cfg = load(name)
    size = cfg.model.data_preprocessor.pad_size_divisor
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    for split, training in (('train', True), ('val', False)):
        options = {f'{split}_dataloader.dataset.data_root': str(coco_folder),
                   f'{split}_dataloader.dataset.metainfo': dict(classes=('gadget',))}
        cfg.merge_from_dict(options)
        dataset = DATASETS.build(cfg[f'{split}_dataloader'].dataset)
        items = [dataset[i] for i in range(len(dataset))]
        batch = preprocessor(
            dict(inputs=[item['inputs'] for item in items],
                 data_samples=[item['data_samples'] for item in items]), training)
        assert batch['inputs'].shape == (2, 3, size, size)
        for sample in batch['data_samples']:
            assert sample.gt_instances.labels.tolist() == [0]
            assert max(sample.img_shape) <= size
