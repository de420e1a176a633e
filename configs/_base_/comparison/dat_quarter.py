# DAT on a quarter of each batch, beside all of its clean images.
_base_ = '../attacks/dat.py'

adversarial = dict(share=0.25)
