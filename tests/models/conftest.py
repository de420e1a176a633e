"""EfficientDet-D0 with the weights and the input of the reference case in tests/fixtures."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from safetensors import safe_open

import projects.dat.models  # noqa: F401  (registers)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def mmdet_scope():
    init_default_scope('mmdet')


@pytest.fixture
def build_d0() -> Callable[..., BaseDetector]:
    """Builds configs/efficientdet_512.py with plain BN, without drop path and without download."""

    def build(norm: str = 'BN') -> BaseDetector:
        cfg = Config.fromfile(ROOT / 'configs/efficientdet_512.py')
        part = dict(norm_cfg=dict(type=norm))
        backbone = dict(part, drop_path_rate=0.0, init_cfg=None)
        cfg.merge_from_dict(dict(model=dict(backbone=backbone, neck=part, bbox_head=part)))
        return MODELS.build(cfg.model)

    return build


@pytest.fixture
def reference() -> tuple[dict, dict[str, torch.Tensor]]:
    """Case (seed, size, losses) and outputs of MMDetection's EfficientDet-D0."""
    with safe_open(ROOT / 'tests/fixtures/efficientdet_d0_outputs.safetensors', 'pt') as file:
        outputs = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
        return json.loads(file.metadata()['case']), outputs


def random_entry(key: str, value: torch.Tensor) -> torch.Tensor:
    """The recipe of the reference weights: a generator per key, seeded with the key's CRC-32."""
    generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
    if key.endswith('running_var'):
        return torch.rand(value.shape, generator=generator) * 0.5 + 0.75
    if key.endswith('running_mean'):
        return torch.randn(value.shape, generator=generator) * 0.05
    if value.dim() >= 2:
        return torch.randn(value.shape, generator=generator) * (1.4 / value[0].numel() ** 0.5)
    if key.endswith('weight'):
        return torch.rand(value.shape, generator=generator) * 0.4 + 0.8
    if key.endswith('bias'):
        return torch.randn(value.shape, generator=generator) * 0.05
    return torch.rand(value.shape, generator=generator) + 0.5


@pytest.fixture
def d0(build_d0) -> BaseDetector:
    """The model of the reference case."""
    model = build_d0()
    state = model.state_dict()
    model.load_state_dict({
        key: random_entry(key, value) if value.is_floating_point() else value
        for key, value in state.items()})
    return model


@pytest.fixture
def case_input(reference) -> tuple[torch.Tensor, list[DetDataSample]]:
    """The images and boxes of the reference case: one generator draws them all."""
    case, _ = reference
    height, width = case['size']
    generator = torch.Generator().manual_seed(case['seed'])
    images = torch.randn(2, 3, height, width, generator=generator)
    samples = []
    for _ in images:
        xy = torch.rand(4, 2, generator=generator) * torch.tensor([0.6 * width, 0.6 * height])
        wh = torch.rand(4, 2, generator=generator) * torch.tensor([0.35 * width, 0.35 * height])
        labels = torch.randint(0, 80, (4,), generator=generator)
        boxes = torch.cat([xy, xy + wh + 12], dim=1)
        samples.append(data_sample(height, width, boxes, labels))
    return images, samples


def data_sample(height: int, width: int, boxes=None, labels=None) -> DetDataSample:
    size = (height, width)
    sample = DetDataSample(metainfo=dict(
        img_shape=size, pad_shape=size, batch_input_shape=size, ori_shape=size,
        scale_factor=(1.0, 1.0)))
    sample.gt_instances = InstanceData(
        bboxes=torch.zeros(0, 4) if boxes is None else boxes,
        labels=torch.zeros(0, dtype=torch.long) if labels is None else labels)
    return sample


@pytest.fixture
def empty_sample() -> Callable[[int, int], DetDataSample]:
    """Makes the data sample of an image without boxes."""
    return data_sample
