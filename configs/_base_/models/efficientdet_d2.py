# EfficientDet-D2 (arXiv:1911.09070, table 1): 8.1 M parameters, images of 768 x 768.
_base_ = './efficientdet_d0.py'

checkpoint = 'https://download.openmmlab.com/mmclassification/v0/efficientnet/efficientnet-b2_3rdparty_8xb32-aa-advprop_in1k_20220119-1655338a.pth'  # noqa: E501

model = dict(
    data_preprocessor=dict(pad_size_divisor=768),
    backbone=dict(arch='b2', init_cfg=dict(checkpoint=checkpoint)),
    neck=dict(num_stages=5, in_channels=[48, 120, 352], out_channels=112),
    bbox_head=dict(in_channels=112, feat_channels=112))
