# First half of the bundled tokenizer's training: L1 and commitment losses alone.
#
# Cost: 4,000 iterations of 16 crops, about half an hour of one CPU core.
# Expected: 23.7 dB PSNR on COCO val2017 (100 images), 99 % of the tokens in use.
#   python tools/train_vqgan.py configs/tokenizer/vqgan_fast_f8_l1.py --train DIR --val DIR
_base_ = ['../_base_/tokenizers/training.py']

model = dict(type='TokenizerTraining', network=dict(type='FastVQGAN'), precision='bf16')
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=4000, eta_min=1e-4),
]
