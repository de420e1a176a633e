# MoCo v3 (arXiv:2104.02057) with ResNet-50 on ImageNet, without labels or adversarial training.
#
# Reproduces: MMPretrain's mocov3_resnet50_8xb512-amp-coslr-300e_in1k.
# Cost: 300 epochs of two views of 224 px, 4.1 G multiply-adds each forward, twice; 8 GPUs x 512
#   images in mixed precision for the learning rate as it stands.
# Expected: 72.8 top-1 by a linear probe
#   (mmpretrain::mocov3/benchmarks/resnet50_8xb128-linear-coslr-90e_in1k.py), of MMPretrain's
#   weights; the authors have 72.8 too (https://github.com/facebookresearch/moco-v3).
_base_ = 'mmpretrain::mocov3/mocov3_resnet50_8xb512-amp-coslr-300e_in1k.py'
