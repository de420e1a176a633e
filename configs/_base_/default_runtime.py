# What every run shares: registration, logs, checkpoints, seed.
default_scope = 'mmdet'
custom_imports = dict(imports=['projects.dat.register'], allow_failed_imports=False)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # A run that is cut off loses at most one epoch.
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=3, save_best='auto'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # Resumed runs draw the random numbers of uninterrupted ones.
    random_state=dict(type='RandomStateHook'),
    visualization=dict(type='DetVisualizationHook'))

env_cfg = dict(
    # Pays off because every batch of a run has one size.
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='DetLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)
log_level = 'INFO'

randomness = dict(seed=0)
load_from = None
resume = False
