"""Test images whose ground truth is where a detector's loss expects it."""

from mmengine.config import Config

from projects.dat.runtime.config import leaf_datasets, metrics_of, type_name, walk
from projects.dat.runtime.errors import UserError

from .test_images import clean_loader

COMPARE_WITH_BATCH = ('Flickr30kMetric', 'VOCMetric')
"""Metrics that take the ground truth from the batch, not from an annotation file."""


def loader_for_losses(cfg: Config) -> dict:
    """The config's test loader; a detector's also gives what its loss needs.

    Test pipelines of MMDetection load boxes after they have resized the image, so that these are in
    pixels of the file, or load none. Here they are loaded right after the image and follow it into
    the pixels of the input; what is loaded (boxes, masks) is as in the training pipeline, or else
    as in the test pipeline. Evaluators with an annotation file of their own see no difference.

    Args:
        cfg: Of a detector or a classifier, whose labels need no change.

    Raises:
        UserError: The pipeline reads no image file, or the evaluator compares with these boxes.
    """
    loader = clean_loader(cfg)
    trained = [node for _, node in walk(cfg.get('train_dataloader'), '') if _loads_targets(node)]
    for path, dataset in leaf_datasets(loader['dataset'], 'test_dataloader.dataset'):
        pipeline = dataset.get('pipeline') or []
        targets = [*trained, *filter(_loads_targets, pipeline)]
        if not targets and not any(type_name(step) == 'PackDetInputs' for step in pipeline):
            continue
        _check_evaluator(cfg)
        target = targets[0] if targets else dict(type='LoadAnnotations', with_bbox=True)
        steps = [step for step in pipeline if not _loads_targets(step)]
        at = next((i for i, s in enumerate(steps) if type_name(s).startswith('LoadImage')), None)
        if at is None:
            raise UserError(
                f'expected a LoadImageFromFile in {path}.pipeline, to load boxes right after it, '
                f'found {", ".join(map(type_name, steps)) or "no steps"}: let the pipeline read '
                'image files'
            )
        dataset['pipeline'] = [*steps[:at + 1], dict(target), *steps[at + 1:]]
    return loader


def _loads_targets(step: dict) -> bool:
    name = type_name(step)
    return name.startswith('Load') and name.endswith('Annotations')


def _check_evaluator(cfg: Config) -> None:
    for path, metric in metrics_of(cfg, 'test'):
        if type_name(metric) in COMPARE_WITH_BATCH:
            raise UserError(
                f'expected an evaluator with an annotation file of its own, such as CocoMetric, '
                f'found {type_name(metric)} at {path}, which takes the boxes from the batch, where '
                'an attack needs them in pixels of the resized image: export the annotations in '
                "COCO's format and use CocoMetric"
            )
