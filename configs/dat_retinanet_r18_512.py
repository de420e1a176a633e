# RetinaNet-R18 on COCO at 512 px with Discrete Adversarial Training: a plain config and a fragment.
#
# Reproduces: nothing published; the attack is that of dat_efficientdet_512.py.
# Cost: 2.67 times the detector's work of retinanet_r18_512.py, and the tokenizer's two passes.
# Expected: unknown.
_base_ = ['./retinanet_r18_512.py', './_base_/attacks/dat.py']
