"""Converted classifiers give timm's outputs, and nothing is converted by halves."""

from argparse import Namespace
from pathlib import Path

import pytest
import timm
import torch
from mmengine.config import Config

from projects.dat.models.timm_weights import architecture_of, read_timm, rename_timm
from projects.dat.runtime.errors import UserError
from projects.dat.runtime.preflight.parts import build_model

ROOT = Path(__file__).resolve().parents[2]
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
DEPTH = 2  # of the transformers, in place of 12 and 32
VIT = dict(num_layers=DEPTH, embed_dims=768, num_heads=12, feedforward_channels=3072)
HUGE = dict(num_layers=DEPTH, embed_dims=1280, num_heads=16, feedforward_channels=5120)
# By architecture: timm's model, its options, our config, its backbone's architecture.
MODELS = {
    'resnet50': ('resnet50', {}, 'dat_resnet50_in1k', None),
    'vit-b16': ('vit_base_patch16_224', dict(depth=DEPTH), 'dat_vit-b16_in1k', VIT),
    # MAE's fine-tuned models average the tokens, and normalize the average.
    'vit-h14': (
        'vit_huge_patch14_224', dict(depth=DEPTH, global_pool='avg'), 'dat_mae-vit-h14_in1k_ft',
        HUGE),
}


def timm_model(arch):
    """With weights and statistics that are random to the last one."""
    name, options, *_ = MODELS[arch]
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=1000, **options).eval()
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.add_(0.1 * value.std(correction=0) * torch.rand_like(value) + 0.01)
    return model


def our_model(arch):
    *_, config, settings = MODELS[arch]
    cfg = Config.fromfile(ROOT / f'configs/classification/{config}.py')
    if settings:
        cfg.model.backbone.arch = settings
    return build_model(cfg).eval()


@pytest.mark.parametrize('arch', MODELS)
def test_outputs_are_timms(arch):
    reference, model = timm_model(arch), our_model(arch)
    weights = reference.state_dict()
    assert architecture_of(weights) == arch
    model.load_state_dict(rename_timm(weights, model), strict=True)
    # Both from the same pixels: RGB in 0..1 normalized, and BGR as loaders give it.
    pixels = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    images = (pixels / 255 - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)
    inputs = model.data_preprocessor(dict(inputs=list(pixels.flip(1))))['inputs']
    torch.testing.assert_close(inputs, images, atol=1e-6, rtol=0)
    with torch.no_grad():
        expected, scores = reference(inputs), model(inputs)
    assert expected.std() > 0.1
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)


WEIGHTS = {'conv1.weight': torch.ones(64, 3, 7, 7), 'fc.bias': torch.arange(3.0)}
OTHERS = {key: value + 1 for key, value in WEIGHTS.items()}


def prefixed(prefix, **others):
    return {f'{prefix}{key}': value for key, value in {**WEIGHTS, **others}.items()}


SEQUENTIAL = {**prefixed('1.'), '0.mean': MEAN, '0.std': STD}


@pytest.mark.parametrize(
    'content',
    [
        WEIGHTS,
        dict(state_dict=WEIGHTS, epoch=3, metric=0.5, args=Namespace(lr=0.1)),
        dict(state_dict=OTHERS, state_dict_ema=WEIGHTS),
        dict(state_dict=WEIGHTS, state_dict_ema=None),
        dict(model=WEIGHTS, optimizer=dict(state={})),
        dict(state_dict=prefixed('module.')),
        dict(state_dict=SEQUENTIAL),
        {f'module.{key}': value for key, value in SEQUENTIAL.items()},
    ],
    ids=['flat', 'timm', 'averaged', 'not averaged', 'MAE', 'parallel', 'released', 'both'],
)
def test_weights_are_found(tmp_path, content):
    torch.save(content, tmp_path / 'weights.pth')
    found = read_timm(str(tmp_path / 'weights.pth'))
    assert found.keys() == WEIGHTS.keys()
    assert all(torch.equal(found[key], value) for key, value in WEIGHTS.items())
    assert architecture_of(found) == 'resnet50'


class Code:
    def __reduce__(self):
        return print, ('it ran',)


@pytest.mark.parametrize(
    'content, message',
    [
        ({**SEQUENTIAL, '0.mean': MEAN * 0}, r'with the mean \(0.485.*found \(0.0, 0.0'),
        ({**SEQUENTIAL, '0.std': STD[:2]}, r'with the std .*found \(0.229, 0.224\)'),
        (dict(epoch=3, state_dict={}), 'expected weights by name.*found epoch, state_dict'),
        (dict(state_dict=WEIGHTS, code=Code()), 'refused for safety'),
        ([1, 2], 'holds a list'),
    ],
    ids=['mean', 'std', 'empty', 'code', 'list'],
)
def test_what_is_no_such_checkpoint(tmp_path, capfd, content, message):
    torch.save(content, tmp_path / 'weights.pth')
    with pytest.raises(UserError, match=message):
        read_timm(str(tmp_path / 'weights.pth'))
    assert 'it ran' not in capfd.readouterr().out


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda w: w.pop('layer1.0.bn2.running_mean'), 'backbone.layer1.0.bn2.running_mean, which '
         'is missing: '),
        (lambda w: w.update({'layer1.3.bn1.bias': torch.ones(1)}), 'layer1.3.bn1.bias, which has '
         'no place: '),
        (lambda w: w.update({'fc.weight': torch.ones(10, 2048), 'fc.bias': torch.ones(10)}),
         r'fc.weight \(10, 2048\) instead of \(1000, 2048\), of another shape \(and 1 more\)'),
    ],
    ids=['missing', 'unexpected', 'shape'],
)
def test_every_key_is_used_and_every_parameter_filled(change, message):
    model = our_model('resnet50')
    weights = timm.create_model('resnet50').state_dict()
    change(weights)
    with pytest.raises(UserError, match=message):
        rename_timm(weights, model)


def test_an_unknown_architecture():
    assert architecture_of({'conv1.weight': torch.ones(32, 3, 3, 3)}) is None
