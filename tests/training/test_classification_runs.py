"""Short real runs of the ImageNet recipes, their models made small."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS

from projects.dat.runtime.preflight.parts import build_model

ROOT = Path(__file__).resolve().parents[2]
VIT = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """Two classes of smooth pictures, two of each."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp('data')
    for name in ('train/a/0', 'train/a/1', 'train/b/0', 'train/b/1'):
        file = root / f'{name}.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        cv2.imwrite(str(file), cv2.resize(coarse, (240, 240), interpolation=cv2.INTER_CUBIC))
    return root


def shrink(cfg):
    cfg.model.backbone.init_cfg = None
    if cfg.model.backbone.type == 'ResNet':
        cfg.model.backbone.update(stem_channels=8, base_channels=8)
        cfg.model.head.in_channels = 256
    else:
        cfg.model.backbone.arch = VIT
        cfg.model.head.in_channels = VIT['embed_dims']


@pytest.mark.parametrize(
    'name, method',
    [
        ('dat_resnet50_in1k', 'DiscreteAttack with a controller, split_bn=clean'),
        ('advprop_resnet50_in1k', 'PixelAttack, split_bn=aux'),
        # Mixup, cutmix and an average of the weights; no batch norm.
        ('dat_vit-b16_in1k', 'DiscreteAttack, split_bn=shared'),
        # Rates by layer.
        ('dat_mae-vit-h14_in1k_ft', 'DiscreteAttack with a controller, split_bn=clean'),
    ],
)
def test_recipes_train(folders, tmp_path, name, method):
    cfg = Config.fromfile(ROOT / f'configs/classification/{name}.py')
    shrink(cfg)
    cfg.merge_from_dict(
        {
            'train_dataloader.batch_size': 2,
            'train_dataloader.num_workers': 0,
            'train_dataloader.dataset.data_root': str(folders),
            'train_dataloader.dataset.metainfo': dict(classes=('a', 'b')),
            'train_cfg.max_epochs': 1,
            'optim_wrapper.type': 'OptimWrapper',  # AMP is for GPUs
            'adversarial.log_interval': 1,
        }
    )
    for split in ('val', 'test'):
        for part in ('dataloader', 'cfg', 'evaluator'):
            cfg[f'{split}_{part}'] = None
    cfg.work_dir = str(tmp_path)
    cfg.experiment_name = cfg.visualizer.name = name
    runner = RUNNERS.build(cfg)
    runner.train()
    hub = runner.message_hub
    assert hub.get_scalar('train/attack/skipped').current() == 0
    assert np.isfinite(hub.get_scalar('train/loss').data[0]).all()
    if method.startswith('Discrete'):
        assert hub.get_scalar('train/attack/token_change').current() > 0
    saved = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)
    assert saved['adversarial_training']['method'] == method
    assert ('ema_state_dict' in saved) == ('vit-b16' in name)
    # What is saved is a plain model's, of the plain config.
    plain = Config.fromfile(ROOT / f'configs/classification/{name.partition("_")[2]}.py')
    shrink(plain)
    weights = {k: v for k, v in saved['state_dict'].items() if '.aux.' not in k}
    build_model(plain).load_state_dict(weights, strict=True)
