# Runtime of the tokenizer trainings: counted in iterations, with averaged weights.
custom_imports = dict(imports=['projects.dat'], allow_failed_imports=False)
default_scope = 'mmengine'
randomness = dict(seed=0)
env_cfg = dict(cudnn_benchmark=True)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=20),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=250, max_keep_ckpts=2),
)
# Averaging over the last few hundred steps is worth half a dB and costs nothing at inference.
custom_hooks = [
    dict(
        type='EMAHook',
        ema_type='ExponentialMovingAverage',
        momentum=0.005,
        update_buffers=True)
]
log_processor = dict(by_epoch=False)
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
load_from = None
resume = False
