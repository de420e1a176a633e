# ViT-B/16 on ImageNet, without adversarial training: dat_vit-b16_in1k.py without its attack.
#
# Reproduces: nothing published; the recipe is that of DAT's ViT-B/16
#   (https://github.com/alibaba/easyrobust/tree/main/examples/imageclassification/imagenet/dat), a
#   command of timm's training script.
# Cost: 310 epochs; 17.6 G multiply-adds per image forward; 8 GPUs x 128 images for the learning
#   rate as it stands.
# Expected: unknown. The paper's ViT without DAT, of another recipe (AugReg), has 79.91 top-1.
_base_ = [
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    'mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py',
    '../_base_/classification_runtime.py',
]

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='VisionTransformer', arch='base', img_size=224, patch_size=16, drop_path_rate=0.25),
    neck=None,
    head=dict(
        type='VisionTransformerClsHead',
        num_classes=1000,
        in_channels=768,
        # As in timm. From MMPretrain's zeros the first attack would get no gradient.
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02),
        loss=dict(
            type='LabelSmoothLoss', label_smooth_val=0.1, mode='original', num_classes=1000)),
    init_cfg=[
        dict(type='TruncNormal', layer='Linear', std=0.02),
        dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
    ],
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]))

# The command's loader gives images in 0..1, and the model normalizes them as
# imagenet_bs64_swin_224.py does. What the loader fills is therefore 0, which is black, or noise of
# deviation 1 about it, which is clipped here. timm applies no color jitter beside RandAugment,
# though the command asks for 0.4.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    # timm draws bilinear or bicubic.
    dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    # rand-m9-mstd0.5-inc1
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[0, 0, 0], interpolation='bicubic')),
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        mode='rand',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=[0, 0, 0],
        fill_std=[255, 255, 255]),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=128, dataset=dict(pipeline=train_pipeline))

# The base's AdamW has the command's lr 0.001, eps 1e-8 and weight decay 0.05. As there, class token
# and position embedding decay too: the released model is wrapped, and timm does not see its list of
# what shall not.
optim_wrapper = dict(type='AmpOptimWrapper')
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, end=5, by_epoch=True, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        begin=5,
        end=300,
        by_epoch=True,
        convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=310)  # 300, and 10 to cool down at the last rate
custom_hooks = [dict(type='EMAHook', momentum=8e-5)]  # a decay of 0.99992
