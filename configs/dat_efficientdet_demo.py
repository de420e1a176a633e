# What `make demo` trains: dat_efficientdet_512.py made small enough for two CPU cores.
#
# Reproduces: nothing; five kinds of drawn objects on photographs (tools/make_demo_data.py).
# Cost: about 6 minutes on two CPU cores.
# Expected: bbox_mAP_50 of at least 0.3.
_base_ = ['./dat_efficientdet_512.py']

data_root = 'work_dirs/demo/data/'
classes = ('ring', 'triangle', 'star', 'cross', 'square')

# A quarter of the side is a sixteenth of the work; so few iterations train a shallow neck and head
# better. BN follows faster than over 300 epochs.
size = (128, 128)
norm = dict(norm_cfg=dict(momentum=0.1))
model = dict(
    data_preprocessor=dict(pad_size_divisor=128),
    backbone=dict(init_cfg=None, drop_path_rate=0.0, **norm),
    neck=dict(num_stages=1, **norm),
    bbox_head=dict(num_classes=len(classes), stacked_convs=2, **norm))

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=size, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=size, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
data = dict(data_root=data_root, metainfo=dict(classes=classes))
train_dataloader = dict(
    batch_size=8, num_workers=1, dataset=dict(pipeline=train_pipeline, **data))
val_dataloader = dict(
    batch_size=4, num_workers=1, dataset=dict(pipeline=test_pipeline, **data))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=10, val_interval=5)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=2e-3, weight_decay=0.01))
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(save_best=None, max_keep_ckpts=1))
custom_hooks = []
adversarial = dict(hook=dict(interval=10), visualization=dict(interval=120))
