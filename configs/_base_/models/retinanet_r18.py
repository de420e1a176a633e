# RetinaNet (arXiv:1708.02002) with ResNet-18 and FPN: MMDetection's, with images padded to 512.
_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'

model = dict(
    data_preprocessor=dict(pad_size_divisor=512),
    backbone=dict(
        depth=18,
        # MMDetection freezes the stem and the batch norms, because its batches are 2 images. These
        # are 16, and so the model trains from scratch too: model.backbone.init_cfg=None.
        frozen_stages=-1,
        norm_eval=False,
        init_cfg=dict(checkpoint='torchvision://resnet18')),
    neck=dict(in_channels=[64, 128, 256, 512]))
