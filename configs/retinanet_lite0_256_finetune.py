# A few epochs more of retinanet_lite0_256.py, from its weights, as
# efficientdet_lite0_256_finetune.py.
_base_ = './retinanet_lite0_256.py'

train_cfg = dict(max_epochs=4, val_interval=4)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
