# Token flips on residual images: nothing but the exchanged tokens differs from the photograph.
_base_ = '../attacks/dat_flip.py'

adversarial = dict(attack=dict(residual=True))
