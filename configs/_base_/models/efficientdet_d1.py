# EfficientDet-D1 (arXiv:1911.09070, table 1): 6.6 M parameters, images of 640 x 640.
_base_ = './efficientdet_d0.py'

checkpoint = 'https://download.openmmlab.com/mmclassification/v0/efficientnet/efficientnet-b1_3rdparty_8xb32-aa-advprop_in1k_20220119-5715267d.pth'  # noqa: E501

model = dict(
    data_preprocessor=dict(pad_size_divisor=640),
    backbone=dict(arch='b1', init_cfg=dict(checkpoint=checkpoint)),
    neck=dict(num_stages=4, in_channels=[40, 112, 320], out_channels=88),
    bbox_head=dict(in_channels=88, feat_channels=88))
