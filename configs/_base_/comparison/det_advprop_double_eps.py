# Det-AdvProp with twice the perturbation.
_base_ = '../attacks/det_advprop.py'

adversarial = dict(attack=dict(eps=2 / 255, alpha=2 / 255))
