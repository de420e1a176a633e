# The bundled tokenizer: an f8 FastVQGAN with 4,096 words, L1 and commitment losses.
#
# Reproduces: projects/dat/tokenizer/weights/fast_f8_4096.safetensors, up to other photographs.
# Cost: 4,000 iterations of 16 crops, about half an hour on two CPU cores.
# Expected: 23.1 dB PSNR on COCO val2017 (100 images, center crops of 256), all words in use.
#   python tools/train_vqgan.py configs/vqgan_fast_f8.py --train DIR [DIR ...] --val DIR
_base_ = ['_base_/tokenizers/runtime.py']

num_codes = 4096
max_iters = 4000

model = dict(type='TokenizerTraining', network=dict(type='FastVQGAN', num_codes=num_codes))
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='InfiniteSampler', shuffle=True),
    # Words are local: small crops show more scenes for the same work.
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
val_evaluator = dict(type='ReconstructionMetric', num_codes=num_codes)

train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=500)
val_cfg = dict()
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.99), weight_decay=1e-4),
    clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=max_iters, eta_min=1e-5),
]
