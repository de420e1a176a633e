# DAT on residual images: nothing but the changed tokens differs from the photograph.
_base_ = '../attacks/dat.py'

adversarial = dict(attack=dict(residual=True))
