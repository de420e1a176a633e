# SimCLR (arXiv:2002.05709) with EfficientNet-Lite0 from random weights at 96 px: see
# simsiam_small.py, with whose data and schedule it trains.
#
# Reproduces: nothing published.
# Cost: 40 epochs of 2,200 images; half an hour or more of one CPU thread.
# Expected: unknown.
_base_ = ['../_base_/datasets/views_96.py', '../_base_/schedules/selfsup_small.py']

model = dict(
    type='SimCLR',
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True),
    backbone=dict(type='EfficientNetLite', norm_cfg=dict(type='BN', momentum=0.1, eps=1e-3)),
    neck=dict(
        type='NonLinearNeck',
        in_channels=1280,
        hid_channels=512,
        out_channels=128,
        norm_cfg=dict(type='BN1d')),
    # Of few negatives: 126.
    head=dict(type='ContrastiveHead', loss=dict(type='CrossEntropyLoss'), temperature=0.2))
