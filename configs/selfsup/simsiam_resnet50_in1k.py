# SimSiam (arXiv:2011.10566) with ResNet-50 on ImageNet, without labels or adversarial training.
#
# Reproduces: MMPretrain's simsiam_resnet50_8xb32-coslr-100e_in1k.
# Cost: 100 epochs of two views of 224 px, 4.1 G multiply-adds each forward; 8 GPUs x 32 images for
#   the learning rate as it stands.
# Expected: 68.3 top-1 by a linear probe
#   (mmpretrain::simsiam/benchmarks/resnet50_8xb512-linear-coslr-90e_in1k.py), of MMPretrain's
#   weights; the paper has 68.1.
_base_ = 'mmpretrain::simsiam/simsiam_resnet50_8xb32-coslr-100e_in1k.py'
