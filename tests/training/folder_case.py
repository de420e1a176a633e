"""A tiny data set of a folder for each class, and a classifier's config, for tests to break."""

from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config

CLASSES = ('cat', 'dog', 'owl')


def write_folders(root: Path, count: int = 2, classes: tuple[str, ...] = CLASSES) -> Path:
    """``root/{train,val}/CLASS/CLASS_N.png`` for every class."""
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for name in classes:
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                noise = rng.integers(0, 256, (32, 40, 3), dtype=np.uint8)
                cv2.imwrite(str(folder / f'{name}_{i}.png'), noise)
    return root


def write_list(root: Path, split: str, lines: list[str] | None = None) -> None:
    """A list of the images of a split and their labels, ``root/{split}.txt``."""
    if lines is None:
        files = sorted((root / split).rglob('*.png'))
        names = [file.relative_to(root / split) for file in files]
        lines = [f'{name} {CLASSES.index(name.parts[0])}' for name in names]
    (root / f'{split}.txt').write_text('\n'.join(lines) + '\n')


def _loader(root: Path, split: str) -> dict:
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(32, 32)),
        dict(type='PackInputs'),
    ]
    dataset = dict(
        type='CustomDataset', data_root=str(root), data_prefix=split, pipeline=pipeline)
    return dict(batch_size=3, num_workers=1 if split == 'train' else 0, dataset=dataset,
                sampler=dict(type='DefaultSampler', shuffle=False))


def folder_config(root: Path) -> Config:
    """A narrow ResNet-18 over the data that trains for one epoch and validates once."""
    return Config(dict(
        default_scope='mmpretrain',
        data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, num_classes=3),
        model=dict(
            type='ImageClassifier',
            backbone=dict(type='ResNet', depth=18, stem_channels=8, base_channels=8),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=3, in_channels=64,
                      loss=dict(type='CrossEntropyLoss')),
        ),
        train_dataloader=_loader(root, 'train'),
        val_dataloader=_loader(root, 'val'),
        test_dataloader=_loader(root, 'val'),
        val_evaluator=dict(type='Accuracy', topk=(1,)),
        test_evaluator=dict(type='Accuracy', topk=(1,)),
        train_cfg=dict(by_epoch=True, max_epochs=1, val_interval=1),
        val_cfg=dict(),
        test_cfg=dict(),
        visualizer=dict(
            type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')]
        ),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-3)),
    ))
