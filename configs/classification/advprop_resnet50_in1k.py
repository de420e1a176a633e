# ResNet-50 on ImageNet with AdvProp, a baseline of DAT.
#
# Reproduces: the ResNet-50 of easyrobust's AdvProp example but for the attack, which aims at random
#   labels there and from the true ones here, and 100 epochs in place of 105.
# Cost: 2.67 times the work of resnet50_in1k.py.
# Expected: 76.64 top-1 and 77.64 mCE in the example
#   (https://github.com/alibaba/easyrobust/tree/main/examples/imageclassification/imagenet/advprop),
#   77.59 and 70.53 in DAT's paper (arXiv:2209.07735, table 6).
_base_ = ['./resnet50_in1k.py', '../_base_/attacks/advprop.py']
