# Discrete Adversarial Training (arXiv:2209.07735): inherit it beside any MMDetection config.
#
#   _base_ = ['mmdet::retinanet/retinanet_r18_fpn_1x_coco.py', './_base_/attacks/dat.py']
#
# Every entry can be changed on the command line, e.g.
#   --cfg-options adversarial.hook.tokenizer.name_or_path=openimages_f8_16384
adversarial = dict(
    data_preprocessor=dict(type='AdversarialDetDataPreprocessor', assembly='concat'),
    # What two forward passes through one BN do, as in the released classification code.
    split_bn='shared',
    hook=dict(
        type='AdversarialTrainingHook',
        tokenizer=dict(name_or_path='fast_f8_8192', precision='fp32'),
        # The step is per image, so the same alpha changes fewer tokens of a larger image: the
        # controller holds the share that did best in the paper (table 8). The bundled tokenizer
        # needs about 0.45 at 128 px; the start is meant for 512 px.
        attack=dict(
            type='DiscreteAttack',
            variant='paper',
            norm='L2',
            controller=dict(type='TokenChangeController', target=0.038, alpha=1.0))),
    random_state=dict(type='RandomStateHook'),
    visualization=dict(type='AttackVisualizationHook', interval=500))
