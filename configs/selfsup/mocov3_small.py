# MoCo v3 (arXiv:2104.02057) with EfficientNet-Lite0 from random weights at 96 px: see
# simsiam_small.py, with whose data and schedule it trains.
#
# Reproduces: nothing published.
# Cost: 40 epochs of 2,200 images, each 1.4 times the time of simsiam_small.py.
# Expected: unknown.
_base_ = ['../_base_/datasets/views_96.py', '../_base_/schedules/selfsup_small.py']

temperature = 0.2
neck = dict(
    type='NonLinearNeck',
    hid_channels=512,
    out_channels=256,
    with_last_bn_affine=False,
    norm_cfg=dict(type='BN1d'))
model = dict(
    type='MoCoV3',
    # The published one follows over 100 times as many iterations.
    base_momentum=0.01,
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True),
    backbone=dict(type='EfficientNetLite', norm_cfg=dict(type='BN', momentum=0.1, eps=1e-3)),
    neck=dict(**neck, in_channels=1280),
    head=dict(
        type='MoCoV3Head',
        predictor=dict(**neck, in_channels=256, with_avg_pool=False),
        loss=dict(type='CrossEntropyLoss', loss_weight=2 * temperature),
        temperature=temperature))
