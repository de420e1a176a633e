# EfficientDet on EfficientNet-Lite0 at 256 px, for photographs with boxes of a few classes: a
# detector small enough to compare methods of training on a CPU.
_base_ = [
    './_base_/models/efficientdet_lite0.py',
    './_base_/datasets/photographs_256.py',
    './_base_/schedules/photographs_12e.py',
    './_base_/default_runtime.py',
]

model = dict(data_preprocessor=dict(pad_size_divisor=256), bbox_head=dict(num_classes=5))
