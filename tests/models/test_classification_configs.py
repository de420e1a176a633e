"""The ImageNet recipes: what DAT's released command says, and what their optimizers make of it."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, TRANSFORMS, init_default_scope
from PIL import Image
from timm.data import create_transform
from timm.data.mixup import mixup_target
from timm.loss import SoftTargetCrossEntropy

from projects.dat.runtime.preflight.parts import build_model

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/classification'
NAMES = sorted(path.stem for path in CONFIGS.glob('*.py'))
TINY = dict(embed_dims=32, num_layers=3, num_heads=2, feedforward_channels=64)
IMAGENET = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])


@pytest.fixture(autouse=True)
def mmpretrain_scope(mmdet_scope):
    init_default_scope('mmpretrain')


def load(name):
    return Config.fromfile(CONFIGS / f'{name}.py')


def tiny(name):
    cfg = load(name)
    cfg.model.backbone.arch = TINY
    cfg.model.head.in_channels = TINY['embed_dims']
    return build_model(cfg)


@pytest.mark.parametrize('name', [n for n in NAMES if n.startswith(('dat_', 'advprop_'))])
def test_a_method_adds_its_attack_and_nothing_else(name):
    cfg, plain = load(name), load(name.partition('_')[2])
    assert cfg.pop('runner_type') == 'AdversarialRunner'
    attack = cfg.pop('adversarial').attack
    assert attack.type == ('PixelAttack' if name.startswith('advprop') else 'DiscreteAttack')
    assert cfg.to_dict() == plain.to_dict()


@pytest.mark.parametrize('name', [n for n in NAMES if '_in1k' in n])
def test_images_are_normalized_as_the_published_weights_expect(name):
    cfg = load(name)
    given = cfg.model.get('data_preprocessor') or cfg.data_preprocessor
    lite = name.startswith('efficientnet_lite0')
    assert (given.mean, given.std) == (([127.5] * 3, [127.5] * 3) if lite else IMAGENET)
    assert given.to_rgb
    steps = {step.type: step for step in cfg.test_dataloader.dataset.pipeline}
    assert (steps['ResizeEdge'].scale, steps['CenterCrop'].crop_size) == (256, 224)


def released_transform():
    """What timm makes of the released command's arguments."""
    *_, last = transforms = create_transform(
        224, is_training=True, mean=(0, 0, 0), std=(1, 1, 1), color_jitter=0.4,
        auto_augment='rand-m9-mstd0.5-inc1', interpolation='random', re_prob=0.25, re_mode='pixel',
    ).transforms
    return {type(transform).__name__: transform for transform in transforms}, last


def test_vit_augments_as_the_released_command():
    theirs, erasing = released_transform()
    ours = {step.type: step for step in load('vit-b16_in1k').train_dataloader.dataset.pipeline}
    assert set(theirs) & {'ColorJitter'} == set(ours) & {'ColorJitter'} == set()
    randaugment = ours['RandAugment']
    assert randaugment.num_policies == theirs['RandAugment'].num_layers
    found = {op.magnitude for op in theirs['RandAugment'].ops}
    assert found == {randaugment.magnitude_level}
    (hparams,) = {str(op.hparams) for op in theirs['RandAugment'].ops}
    assert f"'magnitude_std': {randaugment.magnitude_std}" in hparams
    assert f"'img_mean': {tuple(randaugment.hparams.pad_val)}" in hparams
    ours = ours['RandomErasing']
    assert (ours.erase_prob, ours.min_area_ratio, ours.max_area_ratio) == (
        erasing.probability, erasing.min_area, erasing.max_area)
    # Noise of deviation 1 about 0 in units of white, cut to what a picture can hold.
    ours = TRANSFORMS.build({**ours, 'erase_prob': 1.0, 'min_area_ratio': 0.3})
    erased = ours(dict(img=np.full((224, 224, 3), 128, np.uint8), img_shape=(224, 224)))['img']
    noise = erased[(erased != 128).any(-1)].ravel() / 255
    expected = np.clip(np.random.default_rng(0).normal(size=100_000), 0, 1)
    assert noise.mean() == pytest.approx(expected.mean(), abs=0.02)
    assert noise.std() == pytest.approx(expected.std(), abs=0.02)


def test_vit_smooths_labels_as_the_released_command():
    labels, scores = torch.tensor([3, 70]), torch.randn(2, 1000)
    expected = SoftTargetCrossEntropy()(scores, mixup_target(labels, 1000, 0.7, smoothing=0.1))
    one_hot = torch.nn.functional.one_hot(labels, 1000)
    loss = MODELS.build(load('vit-b16_in1k').model.head.loss)
    found = loss(scores, 0.7 * one_hot + 0.3 * one_hot.flip(0))
    torch.testing.assert_close(found, expected)


def test_vit_has_the_published_hyper_parameters():
    cfg = load('vit-b16_in1k')
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.eps, optimizer.weight_decay) == (
        'AdamW', 1e-3, 1e-8, 0.05)
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.model.backbone.drop_path_rate == 0.25
    augments = {augment.type: augment.alpha for augment in cfg.model.train_cfg.augments}
    assert augments == dict(Mixup=0.8, CutMix=1.0)
    (ema,) = cfg.custom_hooks
    assert 1 - ema.momentum == pytest.approx(0.99992, abs=1e-9)
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 1024
    attack = load('dat_vit-b16_in1k').adversarial.attack
    assert (attack.variant, attack.norm, attack.eps, attack.alpha, attack.random_start) == (
        'released', 'L2', 0.1, 0.1, 0.8)


@pytest.mark.parametrize(
    'name, epochs, first, peak, last',
    [
        ('efficientnet_lite0_in1k', 10, 1e-2, 1e-2, 0),
        ('resnet50_in1k', 100, 0.1, 0.1, 1e-4),
        # Warm-up from 1e-6 over 5 epochs, cosine to 1e-6 at 300, 10 epochs there.
        ('vit-b16_in1k', 310, 1e-6, 1e-3, 1e-6),
        ('mae-vit-h14_in1k_ft', 50, 4e-7, 4e-3, 1e-6),
    ],
)
def test_rates(name, epochs, first, peak, last):
    cfg = load(name)
    assert cfg.train_cfg.max_epochs == epochs
    rate = cfg.optim_wrapper.optimizer.lr
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    schedulers, length = [], 10
    given = cfg.param_scheduler
    for scheduler in given if isinstance(given, list) else [given]:
        scheduler.pop('convert_to_iter_based', None)
        kind = PARAM_SCHEDULERS.get(scheduler.pop('type'))
        scheduler.pop('_scope_', None)
        schedulers.append(kind.build_iter_from_epoch(
            optimizer=optimizer, epoch_length=length, **scheduler))
    rates = []
    for _ in range(epochs * length):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    assert rates[0] == pytest.approx(first)
    assert max(rates) == pytest.approx(peak)
    assert rates[-1] == pytest.approx(last, abs=1e-3 * peak)
    if name == 'vit-b16_in1k':
        assert np.argmax(rates) == pytest.approx(5 * length, abs=1)
        assert rates[300 * length :] == pytest.approx([1e-6] * 10 * length, rel=0.1)


def test_what_decays_and_how_fast_layers_learn():
    wrapper = build_optim_wrapper(
        tiny('vit-b16_in1k'), {**load('vit-b16_in1k').optim_wrapper, 'type': 'OptimWrapper'})
    decays = {p: group['weight_decay'] for group in wrapper.optimizer.param_groups
              for p in group['params']}
    for parameter, decay in decays.items():
        assert decay == (0.05 if parameter.ndim > 1 else 0), parameter.shape
    wrapper = build_optim_wrapper(
        tiny('mae-vit-h14_in1k_ft'), load('mae-vit-h14_in1k_ft').optim_wrapper)
    for group in wrapper.optimizer.param_groups:
        name, depth = group['param_name'], TINY['num_layers'] + 1
        layer = re.match(r'backbone\.layers\.(\d+)', name)
        below = depth if 'embed' in name or 'token' in name else 0
        below = depth - 1 - int(layer[1]) if layer else below
        assert group['lr'] == pytest.approx(4e-3 * 0.75**below), name


@pytest.mark.parametrize('name', [n for n in NAMES if not n.startswith(('dat_', 'advprop_'))])
def test_pipelines_give_images(name, tmp_path):
    file = tmp_path / 'image.png'
    noise = np.random.default_rng(0).integers(0, 256, (300, 260, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file)
    cfg = load(name)
    size = 160 if 'imagenette' in name else 224
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        packed = Compose(loader.dataset.pipeline)(dict(img_path=str(file), gt_label=1))
        assert packed['inputs'].shape == (3, size, size)
