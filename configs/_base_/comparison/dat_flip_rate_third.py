# Token flips at a third of the rate.
_base_ = '../attacks/dat_flip.py'

adversarial = dict(attack=dict(rate=0.0127))
