# ViT-H/14, pre-trained with MAE (arXiv:2111.06377), fine-tuned on ImageNet with Discrete
# Adversarial Training.
#
# Reproduces: DAT's MAE-H (arXiv:2209.07735, table 1), whose recipe is not published: layer decay,
#   drop path and all else are those of mae-vit-h14_in1k_ft.py, and the attack is the default one;
#   this choice is ours. tools/convert_timm.py makes the released checkpoint one of this config.
# Cost: 2.67 times the model's work of mae-vit-h14_in1k_ft.py, and the tokenizer's two passes.
# Expected: 87.02 top-1 and 31.40 mCE in the paper, where plain fine-tuning has 86.90 and 33.92.
_base_ = ['./mae-vit-h14_in1k_ft.py', '../_base_/attacks/dat.py']
