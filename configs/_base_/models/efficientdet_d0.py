# EfficientDet-D0 (arXiv:1911.09070, table 1), as in MMDetection's EfficientDet project: 3.9 M
# parameters, images of 512 x 512.
#
# Other norm layers are a matter of two lines, because the three dicts below merge:
#   split = dict(norm_cfg=dict(type='SplitBN'))
#   model = dict(backbone=split, neck=split, bbox_head=split)
norm_cfg = dict(type='SyncBN', requires_grad=True, eps=1e-3, momentum=0.01)

# The weights were trained with AdvProp and mean = std = 127.5, while the data preprocessor uses
# ImageNet's mean and std, both as published: a baseline from here is not free of adversarial
# training. efficientnet-b0_3rdparty_8xb32-aa_in1k_20220119-8d939117.pth is the one without it.
# `--cfg-options model.backbone.init_cfg=None` trains from scratch.
checkpoint = 'https://download.openmmlab.com/mmclassification/v0/efficientnet/efficientnet-b0_3rdparty_8xb32-aa-advprop_in1k_20220119-26434485.pth'  # noqa: E501

model = dict(
    type='EfficientDet',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        # Every batch is 512 x 512, whatever the images' shapes; the BiFPN needs multiples of 128.
        pad_size_divisor=512),
    backbone=dict(
        type='EfficientNet',
        arch='b0',
        drop_path_rate=0.2,
        out_indices=(3, 4, 5),
        frozen_stages=0,
        conv_cfg=dict(type='Conv2dSamePadding'),
        norm_cfg=norm_cfg,
        norm_eval=False,
        init_cfg=dict(type='Pretrained', prefix='backbone', checkpoint=checkpoint)),
    neck=dict(
        type='BiFPN',
        num_stages=3,
        in_channels=[40, 112, 320],
        out_channels=64,
        start_level=0,
        norm_cfg=norm_cfg),
    bbox_head=dict(
        type='EfficientDetSepBNHead',
        num_classes=80,
        num_ins=5,
        in_channels=64,
        feat_channels=64,
        stacked_convs=3,
        norm_cfg=norm_cfg,
        anchor_generator=dict(
            type='AnchorGenerator',
            octave_base_scale=4,
            scales_per_octave=3,
            ratios=[1.0, 0.5, 2.0],
            strides=[8, 16, 32, 64, 128],
            center_offset=0.5),
        bbox_coder=dict(
            type='DeltaXYWHBBoxCoder',
            target_means=[0.0, 0.0, 0.0, 0.0],
            target_stds=[1.0, 1.0, 1.0, 1.0]),
        loss_cls=dict(
            type='FocalLoss', use_sigmoid=True, gamma=1.5, alpha=0.25, loss_weight=1.0),
        loss_bbox=dict(type='HuberLoss', beta=0.1, loss_weight=50.0)),
    train_cfg=dict(
        assigner=dict(
            type='MaxIoUAssigner',
            pos_iou_thr=0.5,
            neg_iou_thr=0.5,
            min_pos_iou=0.0,
            ignore_iof_thr=-1),
        # The focal loss takes every anchor.
        sampler=dict(type='PseudoSampler'),
        allowed_border=-1,
        pos_weight=-1,
        debug=False),
    test_cfg=dict(
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.05,
        nms=dict(
            type='soft_nms', iou_threshold=0.3, sigma=0.5, min_score=1e-3, method='gaussian'),
        max_per_img=100))
