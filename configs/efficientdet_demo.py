# The detector of `make demo`: efficientdet_512.py made small enough for two CPU cores.
#
# Reproduces: nothing; five kinds of drawn objects on photographs (tools/make_demo_data.py).
# Cost: about 3 minutes on two CPU cores.
# Expected: bbox_mAP_50 of at least 0.3.
_base_ = [
    './_base_/models/efficientdet_d0.py',
    './_base_/datasets/demo_128.py',
    './_base_/schedules/efficientdet_300e.py',
    './_base_/default_runtime.py',
]

# So few iterations train a shallow neck and head better, and BN has to follow faster.
norm = dict(norm_cfg=dict(momentum=0.1))
model = dict(
    data_preprocessor=dict(pad_size_divisor=128),
    backbone=dict(init_cfg=None, drop_path_rate=0.0, **norm),
    neck=dict(num_stages=1, **norm),
    bbox_head=dict(num_classes=5, stacked_convs=2, **norm))

train_cfg = dict(max_epochs=8, val_interval=4)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=2e-3, weight_decay=0.01))
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(save_best=None, max_keep_ckpts=1))
# No average over 300 epochs' worth of weights.
custom_hooks = []
