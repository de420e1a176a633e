# EfficientDet-D1 on COCO at 640 px, without adversarial training.
#
# Reproduces: EfficientDet-D1 (arXiv:1911.09070), with the recipe of MMDetection's EfficientDet
#   project: 300 epochs on 8 GPUs x 16 images.
# Cost: 6.1 G multiply-adds per image forward, 8 GPUs for the learning rate as it stands.
# Expected: the official model has 40.2 AP on val2017.
_base_ = [
    './_base_/models/efficientdet_d1.py',
    './_base_/datasets/coco_512.py',
    './_base_/schedules/efficientdet_300e.py',
    './_base_/default_runtime.py',
]

image_size = (640, 640)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomResize', scale=image_size, ratio_range=(0.1, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=image_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = _base_.test_pipeline
test_pipeline[1] = dict(type='Resize', scale=image_size, keep_ratio=True)

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
