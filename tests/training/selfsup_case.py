"""MMPretrain's self-supervised models, small, and batches of views for them."""

import torch
from mmengine.logging import MessageHub
from mmengine.registry import MODELS
from mmpretrain.structures import DataSample

from projects.dat.attacks import PixelAttack
from projects.dat.training import Adversary
from projects.dat.training.prepare import prepare_model

MEAN = dict(mean=[127.5] * 3, std=[127.5] * 3)
BACKBONE = dict(type='mmpretrain.ResNet', depth=18, stem_channels=8, base_channels=8)


def neck(in_channels=64, **options):
    return dict(type='mmpretrain.NonLinearNeck', in_channels=in_channels, hid_channels=16,
                out_channels=16, norm_cfg=dict(type='BN1d'), **options)


def _entropy():
    return dict(type='mmpretrain.CrossEntropyLoss')


def _predictor():
    return neck(16, with_avg_pool=False)


PARTS = {
    'SimSiam': lambda: dict(neck=neck(num_layers=3), head=dict(
        type='mmpretrain.LatentPredictHead', predictor=_predictor(),
        loss=dict(type='mmpretrain.CosineSimilarityLoss'))),
    'SimCLR': lambda: dict(neck=neck(), head=dict(
        type='mmpretrain.ContrastiveHead', loss=_entropy(), temperature=0.2)),
    'MoCoV3': lambda: dict(neck=neck(), base_momentum=0.1, head=dict(
        type='mmpretrain.MoCoV3Head', predictor=_predictor(), loss=_entropy(), temperature=0.2)),
    # Its second view goes through the momentum encoder alone.
    'MoCo': lambda: dict(
        neck=dict(type='mmpretrain.MoCoV2Neck', in_channels=64, hid_channels=16, out_channels=16),
        queue_len=8, feat_dim=16, momentum=0.1, head=dict(
            type='mmpretrain.ContrastiveHead', loss=_entropy(), temperature=0.2)),
}
METHODS = ('SimSiam', 'SimCLR', 'MoCoV3')


def model_config(method):
    return dict(type=f'mmpretrain.{method}', backbone=dict(BACKBONE), data_preprocessor=dict(MEAN),
                **PARTS[method]())


def make(method, attack=None, **settings):
    """A model in training and the adversary bound to its preprocessor."""
    torch.manual_seed(0)
    # The schedule of a momentum encoder looks there.
    MessageHub.get_current_instance().update_info('max_iters', 10)
    model = MODELS.build(model_config(method)).train()
    prepare_model(model, **settings)
    adversary = Adversary(attack or PixelAttack('Linf', 8 / 255, 8 / 255, 1), model)
    model.data_preprocessor.bind(adversary)
    return model, adversary


def views(count=4, size=32, number=2, seed=1):
    """A batch as the loader gives it: smooth images, uint8."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 256, (number, count, 3, 4, 4), generator=generator).float()
    fine = [torch.nn.functional.interpolate(x, (size, size), mode='bilinear') for x in coarse]
    return dict(inputs=[x.to(torch.uint8) for x in fine],
                data_samples=[DataSample() for _ in range(count)])
