# EfficientDet-D3 (arXiv:1911.09070, table 1): 12.0 M parameters, images of 896 x 896.
_base_ = './efficientdet_d0.py'

checkpoint = 'https://download.openmmlab.com/mmclassification/v0/efficientnet/efficientnet-b3_3rdparty_8xb32-aa-advprop_in1k_20220119-53b41118.pth'  # noqa: E501

model = dict(
    data_preprocessor=dict(pad_size_divisor=896),
    backbone=dict(arch='b3', drop_path_rate=0.3, init_cfg=dict(checkpoint=checkpoint)),
    neck=dict(num_stages=6, in_channels=[48, 136, 384], out_channels=160),
    bbox_head=dict(in_channels=160, feat_channels=160, stacked_convs=4))
