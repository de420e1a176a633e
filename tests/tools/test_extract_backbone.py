"""Backbones out of pre-training checkpoints, into classifiers and detectors."""

import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from projects.dat.runtime.errors import UserError
from projects.dat.runtime.preflight.parts import build_model
from tests.training.selfsup_case import METHODS, model_config
from tools.extract_backbone import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def extract(tmp_path, monkeypatch):
    """Run the tool on a checkpoint of a method; gives the file."""

    def extract(method, weights, *options):
        config, out = tmp_path / 'config.py', tmp_path / 'out' / 'backbone.pth'
        if isinstance(method, str):
            method = Config(dict(default_scope='mmpretrain', model=model_config(method)))
        config.write_text(method.pretty_text)
        torch.save(weights, tmp_path / 'in.pth')
        command = ['extract_backbone.py', config, tmp_path / 'in.pth', out, *options]
        monkeypatch.setattr(sys, 'argv', list(map(str, command)))
        main()
        return out

    return extract


def pretrained(method):
    """A model with weights like no other, momentum encoder included."""
    torch.manual_seed(1)
    model = MODELS.build(model_config(method))
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.normal_()
    return model


def loaded(cfg, file):
    """What a config of MMDetection or MMPretrain makes of the file."""
    cfg = dict(cfg, init_cfg=dict(type='Pretrained', checkpoint=str(file), prefix='backbone'))
    backbone = MODELS.build(cfg)
    backbone.init_weights()
    return backbone.state_dict()


@pytest.mark.parametrize('library', ['mmpretrain', 'mmdet'])
@pytest.mark.parametrize('method', METHODS)
def test_both_libraries_load_it_whole(extract, capsys, method, library):
    model = pretrained(method)
    file = extract(method, dict(state_dict=model.state_dict()))
    said = capsys.readouterr().out.splitlines()[-1]
    cfg = dict(type=f'{library}.ResNet', depth=18, stem_channels=8, base_channels=8)
    expected = model.backbone.state_dict()
    found = loaded(cfg, file)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert f'ResNet, {len(expected)} tensors of backbone; left out: ' in said
    assert f'{len(model.neck.state_dict())} of neck' in said


@pytest.mark.parametrize('method, name', [('MoCoV3', 'momentum_encoder'), ('MoCo', 'encoder_k')])
def test_momentum_encoder(extract, capsys, method, name):
    model = pretrained(method)
    file = extract(method, dict(state_dict=model.state_dict()), '--momentum')
    found = torch.load(file, weights_only=True)['state_dict']
    expected = getattr(model, name).module[0].state_dict()
    assert found.keys() == {f'backbone.{key}' for key in expected}
    assert all(torch.equal(found[f'backbone.{key}'], value) for key, value in expected.items())
    assert not torch.equal(found['backbone.conv1.weight'], model.backbone.conv1.weight)
    assert f'tensors of {name}.module.0; left out: ' in capsys.readouterr().out


def test_checkpoint_of_a_wrapped_model(extract):
    model = pretrained('SimSiam')
    weights = OrderedDict((f'module.{key}', v) for key, v in model.state_dict().items())
    found = torch.load(extract('SimSiam', weights), weights_only=True)['state_dict']
    assert torch.equal(found['backbone.conv1.weight'], model.backbone.conv1.weight)


def test_the_small_networks_backbone_is_a_detectors(extract):
    """EfficientNet-Lite0: MMDetection takes the stages below the last convolution."""
    cfg = Config.fromfile(ROOT / 'configs/selfsup/simsiam_small.py')
    model = build_model(cfg)
    file = extract(cfg, dict(state_dict=model.state_dict()))
    detector = Config.fromfile(ROOT / 'configs/efficientdet_lite0_256.py').model.backbone
    init_default_scope('mmdet')
    found, expected = loaded(detector, file), model.backbone.state_dict()
    assert found.keys() == {key for key in expected if not key.startswith('layers.6.')}
    assert all(torch.equal(value, expected[key]) for key, value in found.items())


def without(key):
    return lambda weights: {k: v for k, v in weights.items() if k != key}


@pytest.mark.parametrize(
    'change, named',
    [
        (without('backbone.layer4.1.bn2.weight'), 'missing: backbone.layer4.1.bn2.weight'),
        (without('neck.fc0.weight'), 'missing: neck.fc0.weight'),
        (lambda weights: dict(weights, extra=torch.ones(1)), 'unexpected: extra'),
        (lambda weights: dict(weights, **{'backbone.conv1.0.weight': torch.ones(1)}),
         'backbone.conv1.0.weight'),
    ],
)
def test_a_checkpoint_of_another_model(extract, tmp_path, change, named):
    weights = change(pretrained('SimSiam').state_dict())
    with pytest.raises(UserError, match=named):
        extract('SimSiam', dict(state_dict=weights))
    assert not (tmp_path / 'out').exists()


def test_no_momentum_encoder(extract, tmp_path):
    with pytest.raises(UserError, match='SimSiam of .* has no momentum encoder: leave --momentum'):
        extract('SimSiam', dict(state_dict=pretrained('SimSiam').state_dict()), '--momentum')
    assert not (tmp_path / 'out').exists()


def test_a_classifiers_config_is_one_sentence(tmp_path):
    config = ROOT / 'configs/classification/efficientnet_lite0_imagenette.py'
    command = [sys.executable, '-W', 'ignore', str(ROOT / 'tools/extract_backbone.py'), str(config)]
    result = subprocess.run(
        [*command, 'in.pth', 'out.pth'], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 2 and not list(tmp_path.iterdir())
    assert result.stderr.startswith('error: expected the config of a self-supervised pre-training')
    assert 'ImageClassifier' in result.stderr and len(result.stderr.splitlines()) == 1
