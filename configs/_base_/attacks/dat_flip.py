# DAT with token flips in place of dat.py's step: the tokens whose exchange hurts the model most, to
# first order through the decoder (HotFlip, arXiv:1712.06751, for images). Ours: no paper has it.
#
# At the same share of changed tokens the loss rises several times as far, and the tokenizer encodes
# once in place of twice. The share is exact at every resolution; there is no step size.
_base_ = './dat.py'

adversarial = dict(
    attack=dict(_delete_=True, type='TokenFlipAttack', rate=0.038, neighbors=8))
