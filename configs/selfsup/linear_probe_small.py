# A linear classifier on the frozen backbone of a small self-supervised run, for Imagenette's ten
# classes at 96 px: a classifier like any other, also for tools/test_robustness.py. The weights come
# from tools/extract_backbone.py:
#
#   python tools/train.py configs/selfsup/linear_probe_small.py \
#       --cfg-options model.backbone.init_cfg.checkpoint=BACKBONE
#
# Reproduces: nothing published; the batch norm without parameters is MAE's (arXiv:2111.06377).
# Cost: 10 epochs of forward passes at 96 px, a few minutes of a CPU.
# Expected: unknown; 10 % is chance.
_base_ = ['../_base_/datasets/imagenette_96.py', '../_base_/classification_runtime.py']

model = dict(
    type='ImageClassifier',
    # Those of the pre-training.
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True),
    backbone=dict(
        type='EfficientNetLite',
        frozen_stages=7,  # all
        norm_cfg=dict(type='BN', eps=1e-3),
        init_cfg=dict(type='Pretrained', checkpoint='backbone.pth', prefix='backbone')),
    # Features of any size, as MAE's probe takes them.
    neck=[
        dict(type='GlobalAveragePooling'),
        dict(type='ClsBatchNormNeck', input_features=1280),
    ],
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=1280,
        loss=dict(type='CrossEntropyLoss'),
        topk=(1,)))
custom_hooks = [dict(type='ChannelsLastHook')]

train_dataloader = dict(drop_last=True)  # the batch norm cannot take one image
train_cfg = dict(by_epoch=True, max_epochs=10, val_interval=5)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='Adam', lr=2e-3))
param_scheduler = dict(
    type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, convert_to_iter_based=True)
default_hooks = dict(checkpoint=dict(save_best=None, max_keep_ckpts=1))
