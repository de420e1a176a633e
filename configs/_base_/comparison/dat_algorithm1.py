# Algorithm 1 of DAT to the letter: the model trains on the adversarial images alone. Two passes of
# the model for each step, in place of three.
_base_ = '../attacks/dat.py'

# No batch has clean images whose statistics could be kept apart.
adversarial = dict(assembly='replace', split_bn='shared')
