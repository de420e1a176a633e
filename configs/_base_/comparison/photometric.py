# What people use who know of no attack: RandAugment (arXiv:1909.13719) without its geometric
# operations, two of them for each of the photographs of photographs_256.py.
color = [
    'Brightness', 'Color', 'Contrast', 'Sharpness', 'AutoContrast', 'Equalize', 'Posterize',
    'Solarize', 'SolarizeAdd',
]
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='RandomResize', scale=(256, 256), ratio_range=(0.6, 1.6), keep_ratio=True),
            dict(type='RandomCrop', crop_size=(256, 256)),
            dict(type='RandomFlip', prob=0.5),
            dict(type='RandAugment', aug_space=[[dict(type=name)] for name in color], aug_num=2),
            dict(type='PackDetInputs'),
        ]))
