# The control for dat_flip_rate_fourfold.py: as many tokens changed, but along noise.
_base_ = '../attacks/random_tokens.py'

adversarial = dict(attack=dict(controller=dict(target=0.152)))
