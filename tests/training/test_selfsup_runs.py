"""Short real runs of the ImageNet recipes of self-supervision with DAT, their models made small."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS

from projects.dat.runtime.preflight.parts import build_model
from tests.training.folder_case import write_folders

ROOT = Path(__file__).resolve().parents[2]
VIT = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)


def shrink(model):
    width = 32
    if model.backbone.type == 'ResNet':
        model.backbone.update(stem_channels=8, base_channels=8)
        width = 256
    else:
        model.backbone.arch = VIT
    model.neck.update(in_channels=width, hid_channels=32)
    if 'predictor' in model.head:
        model.head.predictor.hid_channels = 32


@pytest.mark.parametrize(
    'name',
    ['simsiam_resnet50_in1k', 'simclr_resnet50_in1k', 'mocov3_resnet50_in1k',
     'mocov3_vit-b16_in1k'],
)
def test_recipes_train(tmp_path, name):
    write_folders(tmp_path / 'data', count=1, classes=('a', 'b'))
    cfg = Config.fromfile(ROOT / f'configs/selfsup/dat_{name}.py')
    shrink(cfg.model)
    cfg.merge_from_dict({
        'train_dataloader.batch_size': 2,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'train_dataloader.dataset.data_root': str(tmp_path / 'data'),
        'train_dataloader.dataset.metainfo': dict(classes=('a', 'b')),
        'train_cfg.max_epochs': 1,
        'optim_wrapper.type': 'OptimWrapper',  # AMP is for GPUs
        'adversarial.log_interval': 1,
    })
    cfg.optim_wrapper.pop('loss_scale', None)
    cfg.work_dir = str(tmp_path / 'run')
    cfg.experiment_name = cfg.visualizer.name = name
    runner = RUNNERS.build(cfg)
    runner.train()
    hub = runner.message_hub
    assert hub.get_scalar('train/attack/skipped').current() == 0
    assert np.isfinite(hub.get_scalar('train/loss').data[0]).all()
    assert hub.get_scalar('train/attack/token_change').current() > 0
    saved = torch.load(tmp_path / 'run/epoch_1.pth', weights_only=True)
    if name.startswith('mocov3'):  # one update for one iteration
        assert saved['state_dict']['momentum_encoder.steps'] == 1
    plain = Config.fromfile(ROOT / f'configs/selfsup/{name}.py')
    shrink(plain.model)
    build_model(plain).load_state_dict(saved['state_dict'], strict=True)
