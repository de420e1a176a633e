# EfficientDet-D0 on COCO at 512 px with Discrete Adversarial Training.
#
# Reproduces: the detection half of DAT (arXiv:2209.07735), whose code and recipe are not published;
#   model, data and schedule are those of efficientdet_512.py, attack and step size those of the
#   paper's classification (table 8).
# Cost: 2.9 times a step of efficientdet_512.py (CPU, batch of 2): 2.67 for the attack pass and
#   twice the images, the rest for the tokenizer's two passes. 1.8 times its memory.
# Expected: no published figure. Det-AdvProp, the baseline to beat, raises D0 from 21.4 to 22.7 mAP
#   on COCO-C (with AutoAugment).
_base_ = ['./efficientdet_512.py', './_base_/attacks/dat.py']
