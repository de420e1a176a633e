# DAT with half as many changed tokens.
_base_ = '../attacks/dat.py'

adversarial = dict(attack=dict(controller=dict(target=0.019)))
