# SimSiam (arXiv:2011.10566) with EfficientNet-Lite0 from random weights at 96 px: small enough to
# compare plain and adversarial pre-training on a CPU.
#
# Reproduces: nothing published.
# Cost: 40 epochs of 2,200 images; half an hour or more of one CPU thread.
# Expected: unknown.
_base_ = ['../_base_/datasets/views_96.py', '../_base_/schedules/selfsup_small.py']

# MMPretrain's SyncBN is for several GPUs.
norm = dict(norm_cfg=dict(type='BN1d'))
model = dict(
    type='SimSiam',
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True),
    backbone=dict(
        type='EfficientNetLite',
        # So few iterations need statistics that follow faster.
        norm_cfg=dict(type='BN', momentum=0.1, eps=1e-3)),
    # A quarter of the published widths.
    neck=dict(
        type='NonLinearNeck',
        in_channels=1280,
        hid_channels=512,
        out_channels=512,
        num_layers=3,
        with_last_bn_affine=False,
        **norm),
    head=dict(
        type='LatentPredictHead',
        loss=dict(type='CosineSimilarityLoss'),
        predictor=dict(
            type='NonLinearNeck',
            in_channels=512,
            hid_channels=128,
            out_channels=512,
            with_avg_pool=False,
            with_last_bn=False,
            with_last_bias=True,
            **norm)))
# As published: the predictor keeps its learning rate.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'predictor': dict(fix_lr=True)}))
custom_hooks = [
    dict(type='ChannelsLastHook'),
    dict(type='SimSiamHook', priority='HIGH', fix_pred_lr=True, lr=0.05, adjust_by_epoch=False),
]
