# efficientdet_demo.py with Discrete Adversarial Training, to try it alone; `make demo` compares.
#
# Reproduces: nothing; five kinds of drawn objects on photographs (tools/make_demo_data.py).
# Cost: about 8 minutes on two CPU cores.
# Expected: bbox_mAP_50 of at least 0.3.
_base_ = ['./efficientdet_demo.py', './_base_/attacks/dat.py']

adversarial = dict(log_interval=10, picture_interval=120)
