# ResNet-50 on ImageNet, without adversarial training.
#
# Reproduces: MMPretrain's resnet50_8xb32_in1k.
# Cost: 100 epochs; 4.1 G multiply-adds per image forward; 8 GPUs x 32 images for the learning rate
#   as it stands.
# Expected: 76.55 top-1, of MMPretrain's weights, which this config can be tested with:
#   https://download.openmmlab.com/mmclassification/v0/resnet/resnet50_8xb32_in1k_20210831-ea4938fc.pth
_base_ = [
    'mmpretrain::_base_/models/resnet50.py',
    'mmpretrain::_base_/datasets/imagenet_bs32.py',
    'mmpretrain::_base_/schedules/imagenet_bs256.py',
    '../_base_/classification_runtime.py',
]
