_base_ = './adversarial.py'

adversarial = dict(
    tokenizer=None,
    attack=dict(
        type='PixelAttack', norm='Linf', eps=1 / 255, alpha=1 / 255, steps=1, random_start=0.4),
    split_bn='aux')
