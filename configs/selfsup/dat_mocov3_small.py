# MoCo v3 with EfficientNet-Lite0 and Discrete Adversarial Training of the second view:
# mocov3_small.py with an attack.
#
# Reproduces: nothing published; see dat_simsiam_resnet50_in1k.py.
# Cost: 2.0 times the time of mocov3_small.py.
# Expected: unknown.
_base_ = ['./mocov3_small.py', '../_base_/attacks/dat.py']

# Twice as fast on CPUs that have it.
adversarial = dict(tokenizer=dict(precision='bf16'))
