# A small set of photographs at 256 px, in COCO's format: data_root/{train,val,test}/*.jpg and
# data_root/annotations/instances_{train,val,test}.json. Methods are chosen on val and reported on
# test.
_base_ = './coco_512.py'

data_root = 'data/photographs/'
data = dict(
    data_root=data_root,
    metainfo=dict(classes=('car', 'person', 'cat', 'train', 'bus')))

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    # Less than EfficientDet's 0.1 to 2.0, which is made for 300 epochs.
    dict(type='RandomResize', scale=(256, 256), ratio_range=(0.6, 1.6), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(256, 256)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(256, 256), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]

train_dataloader = dict(
    num_workers=1,
    dataset=dict(
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        pipeline=train_pipeline,
        **data))
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        pipeline=test_pipeline,
        **data))
test_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(
        ann_file='annotations/instances_test.json',
        data_prefix=dict(img='test/'),
        pipeline=test_pipeline,
        **data))
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = dict(ann_file=data_root + 'annotations/instances_test.json')
