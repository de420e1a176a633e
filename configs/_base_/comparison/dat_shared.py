# DAT with running statistics of photographs and reconstructions together.
_base_ = '../attacks/dat.py'

adversarial = dict(split_bn='shared')
