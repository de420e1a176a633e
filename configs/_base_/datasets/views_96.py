# Two views of each photograph at 96 px, for self-supervision without labels:
# data_root/train/**/*, in class folders, which count for nothing, or in a flat folder. For
# photographs in data_root itself: --cfg-options train_dataloader.dataset.data_prefix= (nothing).
#
# The augmentations are MoCo v2's (arXiv:2003.04297), which SimSiam uses too.
view_pipeline = [
    dict(type='RandomResizedCrop', scale=96, crop_ratio_range=(0.2, 1.0)),
    dict(
        type='RandomApply',
        transforms=[
            dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
        ],
        prob=0.8),
    # Images are BGR.
    dict(
        type='RandomGrayscale',
        prob=0.2,
        keep_channels=True,
        channel_weights=(0.114, 0.587, 0.2989)),
    # As far as 2 pixels reach at 224 px.
    dict(type='GaussianBlur', magnitude_range=(0.1, 0.9), magnitude_std='inf', prob=0.5),
    dict(type='RandomFlip', prob=0.5),
]
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    # The augmentations depend on seed and epoch alone, with an attack as without.
    worker_init_fn=dict(type='seed_worker'),
    persistent_workers=False,
    # Of one or two images no contrast is left.
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='CustomDataset',
        data_root='data/imagenette',
        data_prefix='train',
        with_label=False,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='MultiView', num_views=2, transforms=[view_pipeline]),
            dict(type='PackInputs'),
        ]))
