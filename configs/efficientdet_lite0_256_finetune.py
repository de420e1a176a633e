# A few epochs more of efficientdet_lite0_256.py, from its weights: where plain training has stopped
# improving, what does another method of training add?
#
#   python tools/compare.py configs/efficientdet_lite0_256.py --method plain --out BASE
#   python tools/compare.py configs/efficientdet_lite0_256_finetune.py --start-from BASE/plain
_base_ = './efficientdet_lite0_256.py'

train_cfg = dict(max_epochs=4, val_interval=4)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
