# MoCo v3 (arXiv:2104.02057) with ViT-B/16 on ImageNet, without labels or adversarial training.
#
# Reproduces: MMPretrain's mocov3_vit-base-p16_16xb256-amp-coslr-300e_in1k.
# Cost: 300 epochs of two views of 224 px, 17.6 G multiply-adds each forward, twice; 16 GPUs x 256
#   images in mixed precision for the learning rate as it stands.
# Expected: 76.9 top-1 by a linear probe
#   (mmpretrain::mocov3/benchmarks/vit-base-p16_8xb128-linear-coslr-90e_in1k.py) and 83.0 fine-tuned
#   for 150 epochs, of MMPretrain's weights; the paper has 76.7 and 83.2.
_base_ = 'mmpretrain::mocov3/mocov3_vit-base-p16_16xb256-amp-coslr-300e_in1k.py'
