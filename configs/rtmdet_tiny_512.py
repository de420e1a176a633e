# RTMDet-tiny on COCO at 512 px, without adversarial training.
#
# Reproduces: nothing published. MMDetection's model and optimizer, with this project's 512 px data
#   (no mosaic, no mixup) and 300 epochs.
# Cost: 16 GPUs x 16 images for the learning rate as it stands.
# Expected: unknown at 512 px. MMDetection's rtmdet_tiny_8xb32-300e_coco, at 640 px with mosaic and
#   mixup, has 40.9 AP.
_base_ = [
    './_base_/models/rtmdet_tiny.py',
    './_base_/datasets/coco_512.py',
    './_base_/schedules/efficientdet_300e.py',
    './_base_/default_runtime.py',
]

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=0.004, weight_decay=0.05), clip_grad=None)
auto_scale_lr = dict(base_batch_size=256)
