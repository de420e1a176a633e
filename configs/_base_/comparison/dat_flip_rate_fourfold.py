# Token flips at four times the rate.
_base_ = '../attacks/dat_flip.py'

adversarial = dict(attack=dict(rate=0.152))
