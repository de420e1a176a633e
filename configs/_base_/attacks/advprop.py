# AdvProp (Xie et al., arXiv:1911.09665): pixels instead of tokens, and an auxiliary batch norm for
# the adversarial half of the batch.
#
# The figures are those of easyrobust's example (https://github.com/alibaba/easyrobust,
# examples/imageclassification/imagenet/advprop), whose attack aims at random labels; ours raises
# the loss of the true ones, which any model has. Every batch norm has to train, and at least one.
_base_ = './adversarial.py'

adversarial = dict(
    tokenizer=None,
    attack=dict(
        type='PixelAttack', norm='Linf', eps=1 / 255, alpha=1 / 255, steps=1, random_start=0.4),
    split_bn='aux')
