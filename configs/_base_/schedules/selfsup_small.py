# Schedule and runtime of all small self-supervised runs, which differ in their method alone.
_base_ = '../classification_runtime.py'

train_cfg = dict(by_epoch=True, max_epochs=40)
# With AdamW at 1e-3 SimSiam's loss falls as far, and its features are worth less: by a linear probe
# 18 % after 12 epochs, where SGD has 30 % after 6.
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=1e-4))
param_scheduler = [
    # Two epochs of 2,200 images.
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=68),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=17), checkpoint=dict(save_best=None, max_keep_ckpts=1))
custom_hooks = [dict(type='ChannelsLastHook')]  # a CPU trains a third faster with it
