# SimCLR with EfficientNet-Lite0 and Discrete Adversarial Training of the second view:
# simclr_small.py with an attack.
#
# Reproduces: nothing published; see dat_simsiam_resnet50_in1k.py.
# Cost: 2.1 times the time of simclr_small.py.
# Expected: unknown.
_base_ = ['./simclr_small.py', '../_base_/attacks/dat.py']

# Twice as fast on CPUs that have it.
adversarial = dict(tokenizer=dict(precision='bf16'))
