# Adversarial training in pixels (Madry et al., arXiv:1706.06083): the adversarial batch alone.
#
# eps is ours and small: photographs as they are stay the goal, and larger ones cost clean accuracy.
_base_ = './adversarial.py'

adversarial = dict(
    tokenizer=None,
    attack=dict(
        type='PixelAttack', norm='Linf', eps=2 / 255, alpha=1 / 255, steps=3, random_start=1.0),
    assembly='replace',
    split_bn='shared')
