"""The images that an analysis looks at, and the targets that attacks turn a model away from.

A target is a class label of an image, or its boxes. It comes from the config's test data where
these know the image, or from the name of its class's folder, and else from the model's own
prediction.
"""

import json
import os.path as osp
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS

from projects.dat.corruptions.transform import image_key
from projects.dat.runtime.annotations import read_annotations
from projects.dat.runtime.config import metrics_of, type_name
from projects.dat.runtime.errors import UserError
from projects.dat.runtime.files import replacing
from projects.dat.runtime.images import IMAGE_ENDINGS, read_image
from projects.dat.runtime.preflight.coco import annotation_file, image_folder
from projects.dat.runtime.preflight.data import check_data
from projects.dat.runtime.preflight.model import HEAD_COUNT, class_counts

from ..imagenet_c import pipeline_for_crops
from ..labelled_images import images_of, read_labelled
from ..model_classes import is_classifier, model_classes
from ..test_images import build_datasets, datasets_of

SCORE = 0.3
"""What a detection must have at least to count as a target."""


def choose_images(cfg: Config, given: Sequence[str], count: int | None) -> list[str]:
    """The files to look at, absolute, each once.

    Args:
        cfg: The model's.
        given: Files, and folders with all that is below them; none for the config's test images.
        count: At most so many, evenly spread over all; None for all.

    Raises:
        UserError: There is nothing at a path, or no image in a folder, or no test data.
    """
    if count is not None and count < 1:
        raise UserError(f'expected --num-images to be at least 1, found {count}')
    files = list(dict.fromkeys(file for path in given for file in _files(path)))
    files = files or list(_task(cfg).known(check=True))
    count = min(count or len(files), len(files))
    return [files[i * len(files) // count] for i in range(count)]


def set_targets(
    cfg: Config, files: Sequence[str], folder: Path, predict: Callable[[Config], list]
) -> str:
    """Let the config's test data, in place, be these images with their targets.

    Args:
        cfg: The model's.
        files: Of :func:`choose_images`.
        folder: For a detector's annotation file.
        predict: What the model predicts of the images of the config it is given, in order.

    Returns:
        Where the targets come from, in words.
    """
    task = _task(cfg)
    targets = task.find(files)
    unknown = [file for file in files if file not in targets]
    if unknown:
        task.read(cfg, {file: task.nothing for file in unknown}, folder)
        targets |= task.from_predictions(dict(zip(unknown, predict(cfg), strict=True)))
    task.read(cfg, {file: targets[file] for file in files}, folder)
    if not unknown:
        return f'the {task.what} that the images have'
    own = f"the model's own {task.predictions}"
    if len(unknown) == len(files):
        return own
    return f'the {task.what} of {len(files) - len(unknown)} images and {own} of the other ' + str(
        len(unknown)
    )


def read_targets(cfg: Config, targets: Mapping[str, Any], folder: Path, side: int | None) -> None:
    """Let the config's test data, in place, be some images with the targets that are given.

    Args:
        cfg: The model's.
        targets: By file, a label or annotations whose category is 1 + a label.
        folder: For a detector's annotation file.
        side: Of a classifier's images in pixels, where all are cut to it already; else None.

    Raises:
        UserError: The test pipeline does not say to what size it brings images.
    """
    task = _task(cfg)
    if side is not None:
        (_, dataset), = datasets_of(cfg)
        dataset['pipeline'] = pipeline_for_crops(dataset['pipeline'], side)
    task.read(cfg, targets, folder)


def class_names(cfg: Config) -> tuple[str, ...]:
    """A detector's classes, or a classifier's labels."""
    if not is_classifier(cfg):
        return tuple(_Boxes(cfg).classes)
    return tuple(map(str, range(class_counts(cfg).get(HEAD_COUNT, 0))))


def _files(path: str) -> list[str]:
    root = osp.abspath(osp.expanduser(path))
    if not osp.exists(root):
        raise UserError(f'expected an image or a folder at {path}, found nothing: check the path')
    files = [osp.normpath(osp.join(root, name)) for name in images_of(root, '')]
    if not files:
        raise UserError(
            f'expected images ({", ".join(IMAGE_ENDINGS)}) in {path}, found none: give a folder '
            'that has some'
        )
    return files


def _common_folder(files: Iterable[str]) -> str:
    return osp.commonpath([osp.dirname(file) for file in files])


def _task(cfg: Config) -> '_Labels | _Boxes':
    return _Labels(cfg) if is_classifier(cfg) else _Boxes(cfg)


class _Labels:
    """Targets of a classifier: labels."""

    what, predictions, nothing = 'class labels', 'predictions', 0

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    def known(self, check: bool) -> dict[str, int]:
        """The config's test images with their labels; none where they are not there."""
        with suppress(*([] if check else [UserError])):
            check_data(self.cfg, ['test'])
            infos = [d.get_data_info(i) for d in build_datasets(self.cfg) for i in range(len(d))]
            return {osp.abspath(info['img_path']): int(info['gt_label']) for info in infos}
        return {}

    def find(self, files: Sequence[str]) -> dict[str, int]:
        """Labels by file, of those whose label is known.

        ImageNet's training images bear their class in their name: n01440764_10026.JPEG.
        """
        known = {image_key(dict(img_path=path)): y for path, y in self.known(False).items()}
        labels = {}
        with suppress(UserError):
            labels = {name: label for label, name in enumerate(model_classes(self.cfg))}
        found = {}
        for file in files:
            path = Path(file)
            places = path.parent.name, path.name.split('_')[0]
            candidates = [known.get(image_key(dict(img_path=file))), *map(labels.get, places)]
            found[file] = next((x for x in candidates if x is not None), None)
        return {file: label for file, label in found.items() if label is not None}

    def read(self, cfg: Config, labels: dict[str, int], folder: Path) -> None:
        """Let the test loader give these images with these labels."""
        root = _common_folder(labels)
        read_labelled(
            cfg.test_dataloader, root, {osp.relpath(f, root): y for f, y in labels.items()}
        )

    def from_predictions(self, predictions: dict[str, Any]) -> dict[str, int]:
        """The labels that the model prefers."""
        return {file: int(found.pred_label) for file, found in predictions.items()}


class _Boxes:
    """Targets of a detector: annotations of its images, as COCO's format has them."""

    what, predictions, nothing = 'boxes', f'detections with a score of at least {SCORE}', ()

    def __init__(self, cfg: Config) -> None:
        kinds = [type_name(metric) for _, metric in metrics_of(cfg, 'test')]
        if kinds != ['CocoMetric']:
            raise UserError(
                f'expected a test_evaluator of CocoMetric, found {", ".join(kinds) or "none"}: '
                "export the annotations in COCO's format and use CocoMetric"
            )
        (_, self.dataset), *others = datasets_of(cfg)
        if others:
            raise UserError(
                f'expected one data set in test_dataloader, found {1 + len(others)}: give a config '
                'that tests on one'
            )
        self.cfg = cfg
        with DATASETS.switch_scope_and_registry(cfg.get('default_scope', 'mmdet')) as registry:
            built = registry.build(dict(self.dataset, lazy_init=True, pipeline=[]))
        self.classes = built.metainfo['classes']
        self.categories = [dict(id=i, name=name) for i, name in enumerate(self.classes, 1)]

    def known(self, check: bool) -> dict[str, list[dict]]:
        """The config's test images with their annotations; none where they are not there."""
        with suppress(*([] if check else [UserError])):
            check_data(self.cfg, ['test'])
            content = read_annotations(annotation_file(self.dataset))
            self.categories = content['categories']
            root = osp.abspath(image_folder(self.dataset))
            names = {x['id']: osp.join(root, x['file_name']) for x in content['images']}
            found = {name: [] for name in names.values()}
            for annotation in content['annotations']:
                found[names[annotation['image_id']]].append(annotation)
            return found
        return {}

    def find(self, files: Sequence[str]) -> dict[str, list[dict]]:
        """Annotations by file, of test images and of those that have the name of just one."""
        known = self.known(False)
        shared = Counter(map(osp.basename, known))
        by_name = {
            name: boxes for path, boxes in known.items() if shared[name := osp.basename(path)] == 1
        }
        found = {file: known.get(file, by_name.get(osp.basename(file))) for file in files}
        return {file: boxes for file, boxes in found.items() if boxes is not None}

    def read(self, cfg: Config, boxes: dict[str, Sequence[dict]], folder: Path) -> None:
        """Let test loader and evaluator read an annotation file of these images."""
        root = _common_folder(boxes)
        images, annotations = [], []
        for i, (file, found) in enumerate(boxes.items(), 1):
            height, width = read_image(file).shape[:2]
            name = osp.relpath(file, root)
            images.append(dict(id=i, file_name=name, height=height, width=width))
            for annotation in found:
                annotations.append(dict(annotation, id=len(annotations) + 1, image_id=i))
        content = dict(images=images, annotations=annotations, categories=self.categories)
        path = osp.abspath(folder / 'annotations.json')
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content))
        cfg.test_dataloader.dataset = dict(
            type='CocoDataset', data_root='', ann_file=path, data_prefix=dict(img=root),
            metainfo=dict(classes=self.classes), test_mode=True, pipeline=self.dataset['pipeline'],
        )
        for _, metric in metrics_of(cfg, 'test'):
            metric['ann_file'] = path

    def from_predictions(self, predictions: dict[str, Any]) -> dict[str, list[dict]]:
        """The boxes that the model is sure of, in pixels of the file."""
        ids = [c['id'] for c in self.categories if c['name'] in self.classes]
        found = {}
        for file, sample in predictions.items():
            kept = sample.pred_instances[sample.pred_instances.scores >= SCORE]
            found[file] = []
            for (x1, y1, x2, y2), label in zip(
                kept.bboxes.tolist(), kept.labels.tolist(), strict=True
            ):
                w, h = x2 - x1, y2 - y1
                found[file].append(dict(
                    bbox=[x1, y1, w, h], area=w * h, iscrowd=0, category_id=ids[label]
                ))
        return found
