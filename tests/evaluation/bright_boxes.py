"""A detector that needs no training, images for it, and the config that brings them together.

Its boxes are what is brighter than a threshold, its classes are colors: every corruption moves its
AP, each in its own way, and so do the order of the channels and the weights (the threshold).
"""

import json
from pathlib import Path

import cv2
import numpy as np
import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmengine.structures import InstanceData
from scipy import ndimage

CLASSES = ('red', 'blue')
CONFIG = """
custom_imports = dict(imports=['projects.dat.register'])
default_scope = 'mmdet'
model = dict(type='BrightBoxes', data_preprocessor=dict(type='DetDataPreprocessor'))
data_root = '{root}/'
test_dataloader = dict(
    batch_size=2, num_workers=2, persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset', data_root=data_root, ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'), metainfo=dict(classes=('red', 'blue')), test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(96, 96), keep_ratio=True),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='PackDetInputs')]))
test_evaluator = dict(
    type='CocoMetric', ann_file=data_root + 'annotations/instances_val2017.json')
test_cfg = dict(type='TestLoop')
"""


@MODELS.register_module()
class BrightBoxes(BaseDetector):
    """Boxes around connected bright pixels."""

    def __init__(self, data_preprocessor: dict) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        self.threshold = torch.nn.Parameter(torch.tensor(0.0))

    def predict(self, batch_inputs, batch_data_samples, rescale=True):
        results = []
        for image, sample in zip(batch_inputs, batch_data_samples, strict=True):
            mean = image.mean(0).cpu().numpy()
            regions, _ = ndimage.label(mean > self.threshold.item())
            boxes, scores, labels = [], [], []
            for index, (y, x) in enumerate(ndimage.find_objects(regions), 1):
                inside = regions == index
                if inside.sum() > 30:
                    boxes.append([x.start, y.start, x.stop, y.stop])
                    scores.append(mean[inside].mean() / 255)
                    blue, _, red = image.cpu().numpy()[:, inside].mean(1)
                    labels.append(int(blue > red))
            scale = torch.tensor(sample.scale_factor).repeat(2)
            results.append(InstanceData(
                bboxes=torch.tensor(boxes).reshape(-1, 4) / scale,
                scores=torch.tensor(scores).reshape(-1).float(),
                labels=torch.tensor(labels).reshape(-1).long(),
            ))
        return self.add_pred_to_datasample(batch_data_samples, results)

    def loss(self, batch_inputs, batch_data_samples):
        """Higher where objects are dark (boxes) and their colors unclear (classes)."""
        dark, unclear = [], []
        for image, sample in zip(batch_inputs / 255, batch_data_samples, strict=True):
            truth = sample.gt_instances
            for box, label in zip(truth.bboxes.round().int().tolist(), truth.labels, strict=True):
                inside = image[:, box[1]:box[3], box[0]:box[2]]
                dark.append(-inside.mean())
                blue, _, red = inside.mean((1, 2))
                unclear.append(red - blue if label else blue - red)
        return dict(loss_cls=torch.stack(unclear).mean(), loss_bbox=torch.stack(dark).mean())

    def _forward(self, *args, **kwargs):
        raise AssertionError('only evaluated')

    extract_feat = _forward


def write_case(folder: Path, count: int = 7) -> tuple[Path, Path]:
    """Images with boxes, a config and a checkpoint; returns the paths of the two latter."""
    rng = np.random.default_rng(0)
    images, boxes = [], []
    (folder / 'data/annotations').mkdir(parents=True)
    (folder / 'data/val2017').mkdir()
    for i in range(count):
        size = (64, 96) if i % 3 else (80, 70)
        picture = rng.integers(20, 90, (*size, 3), dtype=np.uint8)
        for left in (4, 40):
            x, y = left + rng.integers(0, 6), rng.integers(3, 20)
            w, h = rng.integers(14, 24, 2)
            color = rng.permutation([rng.integers(120, 170), 255])  # of blue and red
            value = (color[0], rng.integers(110, 220), color[1])
            picture[y:y + h, x:x + w] = value
            boxes.append(dict(
                id=len(boxes) + 1, image_id=10 * i, category_id=1 + int(color[0] > color[1]),
                bbox=list(map(int, (x, y, w, h))), area=int(w * h), iscrowd=0,
            ))
        name = f'{i}.jpg'
        cv2.imwrite(str(folder / 'data/val2017' / name), picture)
        images.append(dict(id=10 * i, file_name=name, width=size[1], height=size[0]))
    categories = [dict(id=i + 1, name=name) for i, name in enumerate(CLASSES)]
    content = dict(images=images, annotations=boxes, categories=categories)
    (folder / 'data/annotations/instances_val2017.json').write_text(json.dumps(content))
    config = folder / 'bright.py'
    config.write_text(CONFIG.format(root=folder / 'data'))
    return config, write_checkpoint(folder / 'bright.pth', 115.0)


def write_checkpoint(file: Path, threshold: float) -> Path:
    """A checkpoint of :class:`BrightBoxes`."""
    torch.save(dict(state_dict=dict(threshold=torch.tensor(threshold)), meta={}), file)
    return file
