"""A classifier that needs no training, images for it, and the config that brings them together.

An image is of one color, which says its first and its second guess: every figure can be worked out
by hand, and every corruption and a swap of channels changes it.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
from mmpretrain.models import BaseClassifier
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

CONFIG = """
custom_imports = dict(imports=['projects.dat.register'])
default_scope = 'mmpretrain'
model = dict(type='ColorLabels', head=dict(num_classes={classes}))
test_dataloader = dict(
    batch_size=64, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CustomDataset', data_root='{root}', data_prefix='val',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='ResizeEdge', scale=36, edge='short'),
            dict(type='CenterCrop', crop_size={side}),
            dict(type='PackInputs')]))
test_evaluator = dict(type='Accuracy', topk=(1, 2))
test_cfg = dict()
"""


@MODELS.register_module()
class ColorLabels(BaseClassifier):
    """Reads two labels from an image's mean color; see :func:`write_image`."""

    def __init__(self, head: dict, data_preprocessor: dict | None = None) -> None:
        super().__init__(data_preprocessor=dict(
            type='ClsDataPreprocessor', mean=[0, 0, 0], std=[1, 1, 1], to_rgb=True))
        self.classes = head['num_classes']
        self.shift = torch.nn.Parameter(torch.tensor(0.0))

    def extract_feat(self, inputs):
        raise AssertionError('only evaluated')

    def forward(self, inputs, data_samples=None, mode='tensor'):
        assert mode == 'predict'
        red, green, blue = inputs.mean((2, 3)).round().long().T
        first = (4 * red + green // 64 + self.shift.long()) % self.classes
        second = (4 * blue + green % 64 // 16) % self.classes
        scores = torch.full((len(inputs), self.classes), 0.1 / self.classes)
        scores.scatter_(1, second[:, None], 0.3).scatter_(1, first[:, None], 0.6)
        return [
            (sample or DataSample()).set_pred_score(score)
            for sample, score in zip(data_samples, scores, strict=True)
        ]


def write_image(file: Path, first: int, second: int = 0, side: int = 40) -> None:
    """An image whose guesses are these labels of 0 to 999."""
    color = (second // 4, first % 4 * 64 + second % 4 * 16, first // 4)  # BGR
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), np.full((side, side, 3), color, np.uint8))


def write_case(folder: Path, classes: int = 1000, side: int = 32) -> tuple[Path, Path]:
    """A config whose data lies in ``folder/data``, or shall, and a checkpoint; their paths."""
    config, checkpoint = folder / 'colors.py', folder / 'colors.pth'
    config.write_text(CONFIG.format(root=folder / 'data', classes=classes, side=side))
    torch.save(dict(state_dict=dict(shift=torch.tensor(0.0)), meta={}), checkpoint)
    return config, checkpoint
