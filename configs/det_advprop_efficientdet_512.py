# EfficientDet-D0 on COCO at 512 px with Det-AdvProp: the baseline that DAT is compared with.
#
# Reproduces: Det-AdvProp (arXiv:2103.13886), whose training code is not published; model, data and
#   schedule are those of efficientdet_512.py, so that it differs from dat_efficientdet_512.py in
#   the attack alone.
# Cost: 4 times a step of efficientdet_512.py in passes: two attacks of a forward and a backward
#   pass each, two forward passes to choose, and training on twice the images.
# Expected: the official models, trained with AutoAugment too, raise D0 from 21.4 to 22.7 mAP on
#   COCO-C; its AP on val2017 is 35.1.
_base_ = ['./efficientdet_512.py', './_base_/attacks/det_advprop.py']
