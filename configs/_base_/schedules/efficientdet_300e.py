# EfficientDet's 300 epochs (arXiv:1911.09070, section 5.1), as in MMDetection's EfficientDet
# project: SGD at 0.16 for a batch of 128, one epoch of warm-up, cosine, an average of the weights.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=300, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.16, momentum=0.9, weight_decay=4e-5),
    paramwise_cfg=dict(norm_decay_mult=0, bias_decay_mult=0, bypass_duplicate=True),
    clip_grad=dict(max_norm=10, norm_type=2))

# The cosine runs from the first epoch, under the warm-up, as in google/automl, and to the last one,
# whatever train_cfg.max_epochs says.
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.1,
        begin=0,
        end=1,
        by_epoch=True,
        convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, convert_to_iter_based=True),
]

custom_hooks = [
    dict(
        type='EMAHook',
        ema_type='ExpMomentumEMA',
        momentum=0.0002,
        update_buffers=True,
        # Just before the checkpoint is written.
        priority=49),
]

# 8 GPUs x 16 images. With another batch, `--auto-scale-lr` keeps the step per image: 0.16 on a
# small batch diverges.
auto_scale_lr = dict(enable=False, base_batch_size=128)
