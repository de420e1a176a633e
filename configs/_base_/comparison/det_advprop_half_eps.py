# Det-AdvProp with half the perturbation.
_base_ = '../attacks/det_advprop.py'

adversarial = dict(attack=dict(eps=0.5 / 255, alpha=0.5 / 255))
