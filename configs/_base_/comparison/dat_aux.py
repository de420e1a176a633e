# DAT with an auxiliary batch norm for its images, as in AdvProp.
_base_ = '../attacks/dat.py'

adversarial = dict(split_bn='aux')
