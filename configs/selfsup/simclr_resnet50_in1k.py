# SimCLR (arXiv:2002.05709) with ResNet-50 on ImageNet, without labels or adversarial training.
#
# Reproduces: MMPretrain's simclr_resnet50_16xb256-coslr-200e_in1k.
# Cost: 200 epochs of two views of 224 px, 4.1 G multiply-adds each forward; 16 GPUs x 256 images
#   for the learning rate as it stands.
# Expected: 66.9 top-1 by a linear probe
#   (mmpretrain::simclr/benchmarks/resnet50_8xb512-linear-coslr-90e_in1k.py), of MMPretrain's
#   weights.
_base_ = 'mmpretrain::simclr/simclr_resnet50_16xb256-coslr-200e_in1k.py'
