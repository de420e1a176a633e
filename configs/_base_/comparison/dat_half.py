# DAT on one half of each batch, in place of its clean images.
_base_ = '../attacks/dat.py'

adversarial = dict(assembly='replace', share=0.5)
