"""MMDetection and MMPretrain on the pinned versions: their models import, train and predict."""

import importlib

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData


@pytest.mark.parametrize('package,model', [('mmdet', 'RetinaNet'),
                                           ('mmpretrain', 'ImageClassifier')])
def test_models_import(package, model):
    importlib.import_module(f'{package}.models')
    assert model in importlib.import_module(f'{package}.registry').MODELS


def batch_of(sides: list[int]) -> dict:
    images, samples = [], []
    for side in sides:
        images.append(torch.randint(256, (3, side, side), dtype=torch.uint8))
        sample = DetDataSample(metainfo=dict(
            img_shape=(side, side), ori_shape=(side, side), scale_factor=(1.0, 1.0)))
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[8.0, 8.0, 56.0, 48.0]]), labels=torch.tensor([1]))
        samples.append(sample)
    return dict(inputs=images, data_samples=samples)


def retinanet_r18():
    model = get_config('mmdet::retinanet/retinanet_r18_fpn_1x_coco.py').model
    model.backbone.init_cfg = None
    model.neck.out_channels = model.bbox_head.in_channels = model.bbox_head.feat_channels = 64
    model.bbox_head.num_classes = 3
    model.test_cfg.score_thr = 0.0
    return model


def faster_rcnn_r18():
    model = get_config('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py').model
    model.backbone.update(depth=18, init_cfg=None)
    model.neck.in_channels = [64, 128, 256, 512]
    model.roi_head.bbox_head.num_classes = 3
    model.train_cfg.rpn_proposal.max_per_img = model.test_cfg.rpn.max_per_img = 50
    model.test_cfg.rcnn.score_thr = 0.0
    return model


# RetinaNet runs nms; Faster R-CNN runs roi_align forward and backward besides.
@pytest.mark.parametrize('config', [retinanet_r18, faster_rcnn_r18])
def test_detector_trains_and_predicts(config):
    torch.manual_seed(0)
    init_default_scope('mmdet')
    detector = MODELS.build(config())
    detector.init_weights()

    detector.train()
    batch = detector.data_preprocessor(batch_of([96, 64]), training=True)
    loss, _ = detector.parse_losses(detector(**batch, mode='loss'))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad.isfinite().all() for p in detector.parameters() if p.requires_grad)

    detector.eval()
    with torch.no_grad():
        results = detector.test_step(batch_of([96, 64]))
    for result, side in zip(results, [96, 64], strict=True):
        boxes = result.pred_instances.bboxes
        assert len(boxes) > 0
        assert boxes.min() >= 0 and boxes.max() <= side
