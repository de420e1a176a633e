# Det-AdvProp on a quarter of each batch, beside all of its clean images, after Fast AdvProp (ICLR
# 2022).
_base_ = '../attacks/det_advprop.py'

adversarial = dict(share=0.25)
