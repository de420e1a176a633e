# RetinaNet on EfficientNet-Lite0 at 256 px, beside efficientdet_lite0_256.py: does what a method of
# training does for one detector hold for another?
_base_ = [
    './_base_/models/retinanet_lite0.py',
    './_base_/datasets/photographs_256.py',
    './_base_/schedules/photographs_12e.py',
    './_base_/default_runtime.py',
]

model = dict(data_preprocessor=dict(pad_size_divisor=256), bbox_head=dict(num_classes=5))
