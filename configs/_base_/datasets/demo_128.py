# The demo's drawn objects (tools/make_demo_data.py) at 128 px: a quarter of coco_512.py's side is a
# sixteenth of the work.
_base_ = './coco_512.py'

data_root = 'work_dirs/demo/data/'
classes = ('ring', 'triangle', 'star', 'cross', 'square')
data = dict(data_root=data_root, metainfo=dict(classes=classes))

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(128, 128), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(128, 128), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]

# Half of a batch is attacked in `make demo`, and batch norm needs the 4 of each half.
train_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(pipeline=train_pipeline, **data))
val_dataloader = dict(batch_size=4, num_workers=1, dataset=dict(pipeline=test_pipeline, **data))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator
