# EfficientDet on EfficientNet-Lite0 at 256 px, for photographs with boxes of a few classes: a
# detector small enough to compare methods of training on a CPU.
_base_ = [
    './_base_/models/efficientdet_lite0.py',
    './_base_/datasets/photographs_256.py',
    './_base_/schedules/efficientdet_300e.py',
    './_base_/default_runtime.py',
]

model = dict(data_preprocessor=dict(pad_size_divisor=256), bbox_head=dict(num_classes=5))

train_cfg = dict(max_epochs=12, val_interval=2)
# An epoch of warm-up would be a twelfth of it all.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, convert_to_iter_based=True),
]
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=0.01))
# No average over 300 epochs' worth of weights; a CPU trains a third faster with the other layout.
custom_hooks = [dict(type='ChannelsLastHook')]
