# MoCo v3 with ViT-B/16 on ImageNet with Discrete Adversarial Training of the second view.
#
# Reproduces: nothing published; see dat_simsiam_resnet50_in1k.py. All else is
#   mocov3_vit-b16_in1k.py's.
# Cost: 1.63 times the model's work of mocov3_vit-b16_in1k.py, and the tokenizer's two passes over
#   one view.
# Expected: unknown.
_base_ = ['./mocov3_vit-b16_in1k.py', '../_base_/attacks/dat.py']
