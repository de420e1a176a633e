# RetinaNet-R18 on COCO at 512 px, without adversarial training.
#
# Reproduces: nothing published. MMDetection's 12-epoch schedule, with this project's 512 px data.
# Cost: 12 epochs; one GPU with 16 images fits the learning rate as it stands.
# Expected: unknown at 512 px. MMDetection's retinanet_r18_fpn_1x_coco, at 1333 x 800, has 31.7 AP.
_base_ = [
    './_base_/models/retinanet_r18.py',
    './_base_/datasets/coco_512.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    './_base_/default_runtime.py',
]

optim_wrapper = dict(optimizer=dict(lr=0.01), clip_grad=dict(max_norm=35, norm_type=2))
