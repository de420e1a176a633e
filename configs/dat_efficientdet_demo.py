# efficientdet_demo.py with Discrete Adversarial Training, to try it alone; `make demo` compares.
#
# Reproduces: nothing; five kinds of drawn objects on photographs (tools/make_demo_data.py).
# Cost: 3 minutes of one CPU core.
# Expected: bbox_mAP_50 of 0.99, bbox_mAP of 0.67.
_base_ = ['./efficientdet_demo.py', './_base_/attacks/dat.py']

# Half of every batch is attacked and none is added: half the cost of the default.
adversarial = dict(assembly='replace', share=0.5, log_interval=10, picture_interval=60)
