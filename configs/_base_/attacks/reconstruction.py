# The control for dat.py with no attack at all: Q(x), the tokenizer's reconstruction, in place of
# the adversarial images. It needs no attack pass of the model and changes no token.
_base_ = './random_tokens.py'

adversarial = dict(attack=dict(alpha=0.0))
