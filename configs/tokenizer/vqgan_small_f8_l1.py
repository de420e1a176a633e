# A bundled tokenizer at half the cost of the other: 2.4 GFLOP for a 256 x 256 reconstruction. An
# attack needs the right tokens and colors, not crisp texture: L1 and commitment losses alone.
#
# Reproduces: projects/dat/tokenizer/weights/small_f8_8192.safetensors.
# Cost: 4,000 iterations of 16 crops.
# Expected: 23.5 dB PSNR and 0.41 LPIPS on COCO val2017 (100 images), 99.8 % of the tokens in use.
#   python tools/train_vqgan.py configs/tokenizer/vqgan_small_f8_l1.py --train DIR --val DIR
_base_ = './vqgan_fast_f8_l1.py'

model = dict(network=dict(width=48, decoder_depth=(2, 1)))
