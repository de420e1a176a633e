# The detector of `make demo`, for two CPU cores.
#
# Reproduces: nothing; five kinds of drawn objects on photographs (tools/make_demo_data.py).
# Cost: about 2 minutes on one CPU core.
# Expected: bbox_mAP_50 of 0.99, bbox_mAP of 0.69.
_base_ = [
    './_base_/models/efficientdet_lite0.py',
    './_base_/datasets/demo_128.py',
    './_base_/schedules/efficientdet_300e.py',
    './_base_/default_runtime.py',
]

# So few iterations train a shallow neck better.
model = dict(
    data_preprocessor=dict(pad_size_divisor=128),
    neck=dict(num_stages=1),
    bbox_head=dict(num_classes=5))

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
