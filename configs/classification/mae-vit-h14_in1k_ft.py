# ViT-H/14, pre-trained with MAE (arXiv:2111.06377), fine-tuned on ImageNet, without adversarial
# training.
#
# Reproduces: MMPretrain's vit-huge-p14_8xb128-coslr-50e_in1k, which follows MAE's fine-tuning: 50
#   epochs, layer decay 0.75, drop path 0.3, mixup, cutmix, RandAugment and random erasing.
# Cost: 167 G multiply-adds per image forward; 8 GPUs x 128 images for the learning rate as it
#   stands. It starts with a download of the pre-trained weights.
# Expected: 86.9 top-1, of MMPretrain's and of MAE's own weights.
_base_ = 'mmpretrain::mae/benchmarks/vit-huge-p14_8xb128-coslr-50e_in1k.py'

model = dict(
    backbone=dict(
        # MMPretrain leaves the place of its own pre-trained weights empty.
        init_cfg=dict(
            checkpoint='https://download.openmmlab.com/mmselfsup/1.x/mae/'
            'mae_vit-huge-p16_8xb512-fp16-coslr-1600e_in1k/'
            'mae_vit-huge-p16_8xb512-fp16-coslr-1600e_in1k_20220916-ff848775.pth')))
