"""A tiny data set in COCO's format and the config that reads it, for tests to break."""

import json
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config

CLASSES = ('ring', 'star')


def write_coco(root: Path, count: int = 3) -> Path:
    """Images with a box each, in COCO 2017's layout, the same annotations for train and val."""
    rng = np.random.default_rng(0)
    (root / 'annotations').mkdir(parents=True)
    images = [{'id': i, 'file_name': f'{i}.jpg', 'width': 96, 'height': 64} for i in range(count)]
    boxes = [
        {'id': i + 1, 'image_id': i, 'category_id': 1 + i % 2, 'bbox': [8, 8, 40, 30],
         'area': 1200, 'iscrowd': 0}
        for i in range(count)
    ]
    categories = [{'id': i + 1, 'name': name} for i, name in enumerate(CLASSES)]
    content = {'images': images, 'annotations': boxes, 'categories': categories}
    for split in ('train2017', 'val2017'):
        (root / split).mkdir()
        for image in images:
            noise = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
            cv2.imwrite(str(root / split / image['file_name']), noise)
        (root / 'annotations' / f'instances_{split}.json').write_text(json.dumps(content))
    return root


def rewrite(root: Path, change, split: str = 'train2017') -> None:
    """Let ``change`` alter the content of an annotation file."""
    file = root / 'annotations' / f'instances_{split}.json'
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def _loader(root: Path, split: str) -> dict:
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='Resize', scale=(64, 64), keep_ratio=True),
        dict(type='PackDetInputs'),
    ]
    dataset = dict(
        type='CocoDataset',
        data_root=str(root),
        ann_file=f'annotations/instances_{split}.json',
        data_prefix=dict(img=f'{split}/'),
        metainfo=dict(classes=CLASSES),
        pipeline=pipeline,
    )
    workers = 1 if split == 'train2017' else 0
    return dict(batch_size=2, num_workers=workers, dataset=dataset,
                sampler=dict(type='DefaultSampler', shuffle=False))


def coco_config(root: Path) -> Config:
    """A RetinaNet over the data that trains for two steps and validates once."""
    evaluator = dict(type='CocoMetric', ann_file=f'{root}/annotations/instances_val2017.json')
    return Config(dict(
        default_scope='mmdet',
        model=dict(
            type='RetinaNet',
            data_preprocessor=dict(
                type='DetDataPreprocessor', mean=[127.5] * 3, std=[127.5] * 3, pad_size_divisor=32
            ),
            backbone=dict(type='ResNet', depth=18),
            neck=dict(type='FPN', in_channels=[64, 128, 256, 512], out_channels=16, num_outs=5),
            bbox_head=dict(type='RetinaHead', num_classes=2, in_channels=16, stacked_convs=0,
                           feat_channels=16, bbox_coder=dict(type='DeltaXYWHBBoxCoder')),
            train_cfg=dict(
                assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4),
                sampler=dict(type='PseudoSampler'),
                allowed_border=-1, pos_weight=-1,
            ),
            test_cfg=dict(nms_pre=100, score_thr=0.0, max_per_img=5,
                          nms=dict(type='nms', iou_threshold=0.5)),
        ),
        train_dataloader=_loader(root, 'train2017'),
        val_dataloader=_loader(root, 'val2017'),
        test_dataloader=_loader(root, 'val2017'),
        val_evaluator=dict(evaluator),
        test_evaluator=dict(evaluator),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=2, val_interval=2),
        val_cfg=dict(type='ValLoop'),
        test_cfg=dict(type='TestLoop'),
        visualizer=dict(
            type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')]
        ),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False)),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-4)),
    ))
