# SimCLR with ResNet-50 on ImageNet with Discrete Adversarial Training of the second view.
#
# Reproduces: nothing published; see dat_simsiam_resnet50_in1k.py. All else is
#   simclr_resnet50_in1k.py's.
# Cost: 1.67 times the model's work of simclr_resnet50_in1k.py, for both views go through the model
#   as one batch, and the tokenizer's two passes over one view.
# Expected: unknown.
_base_ = ['./simclr_resnet50_in1k.py', '../_base_/attacks/dat.py']
