# SimSiam with ResNet-50 on ImageNet with Discrete Adversarial Training of the second view.
#
# Reproduces: nothing published in detail. DAT's paper (arXiv:2209.07735) names self-supervision as
#   its third task; neither how the attack is placed nor figures were found. Which view gives way is
#   our choice; all else is simsiam_resnet50_in1k.py's.
# Cost: 1.5 times the model's work of simsiam_resnet50_in1k.py, and the tokenizer's two passes over
#   one view.
# Expected: unknown.
_base_ = ['./simsiam_resnet50_in1k.py', '../_base_/attacks/dat.py']
