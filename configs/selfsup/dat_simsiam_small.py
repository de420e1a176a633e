# SimSiam with EfficientNet-Lite0 and Discrete Adversarial Training of the second view:
# simsiam_small.py with an attack.
#
# Reproduces: nothing published; see dat_simsiam_resnet50_in1k.py.
# Cost: 1.8 times the time of simsiam_small.py.
# Expected: unknown.
_base_ = ['./simsiam_small.py', '../_base_/attacks/dat.py']

# Twice as fast on CPUs that have it.
adversarial = dict(tokenizer=dict(precision='bf16'))
