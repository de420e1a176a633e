# EfficientDet-D0 on COCO at 512 px: the baseline without adversarial training.
#
# Reproduces: EfficientDet-D0 (arXiv:1911.09070), with the recipe of MMDetection's EfficientDet
#   project: 300 epochs on 8 GPUs x 16 images.
# Cost: 2.5 G multiply-adds per image forward, 8 GPUs for the learning rate as it stands.
# Expected: the official model has 34.3 AP on val2017. MMDetection publishes no AP for this config.
_base_ = [
    './_base_/models/efficientdet_d0.py',
    './_base_/datasets/coco_512.py',
    './_base_/schedules/efficientdet_300e.py',
    './_base_/default_runtime.py',
]
