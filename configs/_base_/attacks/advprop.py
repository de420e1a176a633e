# AdvProp (Xie et al., arXiv:1911.09665): pixels instead of tokens, and an auxiliary batch norm for
# the adversarial half of the batch.
#
# The figures are those of easyrobust's example (https://github.com/alibaba/easyrobust,
# examples/imageclassification/imagenet/advprop). Its attack lowers the loss of random labels; ours
# raises that of the true ones, which every kind of model has. Every batch norm has to train, as for
# det_advprop.py.
_base_ = './adversarial.py'

adversarial = dict(
    tokenizer=None,
    attack=dict(
        type='PixelAttack', norm='Linf', eps=1 / 255, alpha=1 / 255, steps=1, random_start=0.4),
    split_bn='aux')
