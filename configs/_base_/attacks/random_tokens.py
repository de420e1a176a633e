# The control for dat.py: the same share of tokens changed, but along noise in place of the
# gradient. What DAT gains over this is owed to the attack's direction, and nothing else is. It
# needs no attack pass of the model.
_base_ = './dat.py'

adversarial = dict(attack=dict(direction='random'))
