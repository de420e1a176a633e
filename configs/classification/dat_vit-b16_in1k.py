# ViT-B/16 on ImageNet with Discrete Adversarial Training: the released recipe.
#
# Reproduces: DAT's ViT-B/16 (arXiv:2209.07735, table 1) as
#   https://github.com/alibaba/easyrobust/tree/main/examples/imageclassification/imagenet/dat trains
#   it, with that code's variant of the attack. Its tokenizer is another than the bundled one: use
#   --cfg-options adversarial.tokenizer.name_or_path=openimages_f8_16384. The loss here is the mean
#   over clean and adversarial images, not the sum of both, a factor that AdamW does not notice.
#   tools/convert_timm.py makes the released checkpoint one of this config.
# Cost: 2.67 times the model's work of vit-b16_in1k.py, and the tokenizer's two passes.
# Expected: 81.46 top-1 and 44.65 mCE in the paper, 81.38 and 45.59 by the released code.
_base_ = ['./vit-b16_in1k.py', '../_base_/attacks/dat_released.py']
