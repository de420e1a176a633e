"""Do the data sets of a config exist, and do they fit the config?"""

import os.path as osp
import shlex
from collections.abc import Sequence

from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmengine.registry import DATASETS

from projects.dat.runtime.errors import UserError

from ..config import leaf_datasets, metrics_of, type_name
from .annotations import check_classes, read_annotations
from .images import check_images

COCO_ZIPS = 'zips/train2017 zips/val2017 annotations/annotations_trainval2017'


def check_data(cfg: Config, splits: Sequence[str]) -> tuple[str, ...] | None:
    """Check the data of some splits.

    Args:
        cfg (Config): A whole MMEngine config.
        splits (Sequence[str]): Of 'train', 'val', 'test'; each must have a dataloader.

    Returns:
        tuple[str, ...] | None: Class names of the first data set that reads COCO's format, None
        where there is none.

    Raises:
        UserError: A folder or file is missing or does not fit.
    """
    found = []
    with DATASETS.switch_scope_and_registry(cfg.get('default_scope', 'mmdet')) as registry:
        for split in splits:
            loader = f'{split}_dataloader'
            for path, dataset in leaf_datasets(cfg[loader]['dataset'], f'{loader}.dataset'):
                kind = dataset['type']
                kind = registry.get(kind) if isinstance(kind, str) else kind
                if _reads_coco(kind) and not dataset.get('backend_args'):
                    found.append((split, path, dataset, kind))
    # All the cheap looks first: annotation files take seconds to read.
    for _, path, dataset, kind in found:
        _check_places(path, dataset, kind)
    for split in splits:
        _check_evaluator(cfg, split, [ds for name, _, ds, _ in found if name == split])
    for split, path, dataset, kind in found:
        file = annotation_file(dataset)
        content = read_annotations(file, split)
        check_classes(content, file, _classes(dataset, kind), path)
        check_images(content, file, image_folder(dataset))
    return _classes(*found[0][2:]) if found else None


def annotation_file(dataset: dict) -> str:
    """The annotation file, joined with the data root as MMEngine does."""
    return _join(dataset, dataset.get('ann_file', ''))


def image_folder(dataset: dict) -> str:
    """The image folder, joined with the data root as MMEngine does."""
    return _join(dataset, dataset.get('data_prefix', {}).get('img', ''))


def _join(dataset: dict, path: str) -> str:
    return osp.join(dataset.get('data_root') or '', path)


def _reads_coco(kind: type | None) -> bool:
    # LVIS, panoptic and other descendants read formats of their own.
    return (
        isinstance(kind, type)
        and issubclass(kind, CocoDataset)
        and kind.load_data_list is CocoDataset.load_data_list
    )


def _classes(dataset: dict, kind: type[CocoDataset]) -> tuple[str, ...]:
    classes = (dataset.get('metainfo') or {}).get('classes', kind.METAINFO['classes'])
    # MMEngine also takes the name of a file with a class a line.
    return tuple(kind._load_metainfo({'classes': classes})['classes'])


def _check_places(path: str, dataset: dict, kind: type[CocoDataset]) -> None:
    places = {
        'data root': (dataset.get('data_root') or '.', osp.isdir),
        'image folder': (image_folder(dataset), osp.isdir),
        'annotation file': (annotation_file(dataset), osp.isfile),
    }
    for what, (place, exists) in places.items():
        if exists(place):
            continue
        cure = 'give the place of your data with --data-root PATH'
        if _classes(dataset, kind) == CocoDataset.METAINFO['classes']:
            cure = f'download COCO (19 GB) with `{download_commands(dataset)}`, or {cure}'
        raise UserError(
            f'the {what} {place!r} of {path} does not exist: {cure} or with --cfg-options '
            f'{path}.data_root=PATH'
        )


def download_commands(dataset: dict) -> str:
    """A shell line that puts COCO 2017 where the data set looks for it."""
    root = shlex.quote(osp.normpath(dataset.get('data_root') or 'data/coco'))
    return (
        f'mkdir -p {root} && cd {root} && for f in {COCO_ZIPS}; do '
        'curl -LO http://images.cocodataset.org/$f.zip && unzip -q ${f##*/}.zip; done'
    )


def _check_evaluator(cfg: Config, split: str, datasets: list[dict]) -> None:
    for path, metric in metrics_of(cfg, split):
        file = metric.get('ann_file')
        if type_name(metric) != 'CocoMetric' or not file or metric.get('backend_args'):
            continue
        if not osp.isfile(file):
            raise UserError(
                f'the annotation file {file} of {path} does not exist: set {path}.ann_file, or '
                'move data set and evaluator together with --data-root PATH'
            )
        files = [annotation_file(dataset) for dataset in datasets]
        if len(files) == 1 and osp.realpath(file) != osp.realpath(files[0]):
            raise UserError(
                f'{path} compares with {file}, but the {split}_dataloader reads {files[0]}: make '
                f'them one with --cfg-options {path}.ann_file={files[0]} or --data-root PATH'
            )
