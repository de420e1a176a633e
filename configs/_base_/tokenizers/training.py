# A tokenizer's training on folders of photographs: loaders, loop, optimizer, hooks.
custom_imports = dict(imports=['projects.dat.register'], allow_failed_imports=False)
default_scope = 'mmengine'
randomness = dict(seed=0)
env_cfg = dict(cudnn_benchmark=True)

train_dataloader = dict(
    batch_size=16,
    # At least one: in the main process, augmentations of skipped images disturb a resumed run's
    # random numbers.
    num_workers=1,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='InfiniteSampler', shuffle=True),
    # Tokens are local: small crops show more scenes for the same work.
    dataset=dict(type='ImageFiles', roots=['data/images/train'], size=128, train=True),
)
val_dataloader = dict(
    batch_size=10,
    num_workers=1,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ImageFiles', roots=['data/images/val'], size=256, train=False),
)
val_evaluator = dict(type='ReconstructionMetric')
train_cfg = dict(type='IterBasedTrainLoop', max_iters=4000, val_interval=500)
val_cfg = dict()

optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.99), weight_decay=1e-4),
    clip_grad=dict(max_norm=1.0))
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=100),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=250, max_keep_ckpts=2),
)
custom_hooks = [
    # Averaging over the last few hundred steps is worth half a dB and costs nothing at inference.
    dict(
        type='EMAHook',
        ema_type='ExponentialMovingAverage',
        momentum=0.005,
        update_buffers=True),
    dict(type='ReconstructionHook'),
    dict(type='RandomStateHook'),
]
log_processor = dict(by_epoch=False)
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
load_from = None
resume = False
