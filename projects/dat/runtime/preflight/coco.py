"""Do data sets in COCO's format exist, and do they fit the config?"""

import os.path as osp
import shlex
from collections import Counter
from collections.abc import Sequence

from mmdet.datasets import CocoDataset
from mmengine.config import Config

from ..annotations import check_labels, missing_images, read_annotations, some
from ..config import metrics_of, type_name
from ..errors import UserError
from ..images import read_image
from .leaves import LeafDataset

COCO_ZIPS = 'zips/train2017 zips/val2017 annotations/annotations_trainval2017'
SAMPLES = 20  # images opened: under a second, and a set of the wrong kind shows at the first


def check_coco(
    cfg: Config, splits: Sequence[str], found: Sequence[LeafDataset]
) -> tuple[str, ...] | None:
    """Check the data sets that read COCO's format, and their evaluators.

    Args:
        cfg (Config): A whole MMEngine config.
        splits (Sequence[str]): Of 'train', 'val', 'test'.
        found (Sequence[LeafDataset]): The data sets of these splits; others are passed over.

    Returns:
        tuple[str, ...] | None: Class names of the first, None where there is none.

    Raises:
        UserError: A folder or file is missing or does not fit.
    """
    found = [leaf for leaf in found if _reads_coco(leaf.kind) and not leaf.cfg.get('backend_args')]
    # All the cheap looks first: annotation files take seconds to read.
    for _, path, dataset, kind in found:
        _check_places(path, dataset, kind)
    for split in splits:
        _check_evaluator(cfg, split, [leaf.cfg for leaf in found if leaf.split == split])
    for split, path, dataset, kind in found:
        file = annotation_file(dataset)
        content = read_annotations(file)
        check_labels(content, file, split)
        _check_classes(content, file, _classes(dataset, kind), path)
        _check_images(content, file, image_folder(dataset))
    return _classes(found[0].cfg, found[0].kind) if found else None


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


def _check_classes(content: dict, file: str, classes: Sequence[str], path: str) -> None:
    """Check that MMDetection will give every class the label that the config means.

    MMDetection numbers the classes in the file's order, whatever the order in the config, and
    skips names that the file lacks: labels then shift without a word.
    """
    names = [category['name'] for category in content['categories']]
    cure = f'set {path}.metainfo.classes to names of the file, which has {some(names)}'
    missing = [name for name in classes if name not in names]
    if len(missing) == len(classes):
        raise UserError(
            f'none of the {len(classes)} classes of the config ({some(classes)}) is in {file}: '
            f'{cure}, and num_classes of the head to their number'
        )
    if missing:
        raise UserError(f"the config's classes {some(missing)} are not in {file}: {cure}")
    matched = [name for name in names if name in classes]
    for names_somewhere, where in ((classes, 'the config'), (matched, file)):
        name, count = Counter(names_somewhere).most_common(1)[0]
        if count > 1:
            raise UserError(f'the class {name!r} appears {count} times in {where}: keep it once')
    for at, (wanted, found) in enumerate(zip(classes, matched, strict=True)):
        if wanted != found:
            raise UserError(
                f'class {at} is {wanted!r} in the config but {found!r} in {file}, whose order '
                f'MMDetection follows: write {path}.metainfo.classes in the order of the file'
            )


def _check_images(content: dict, file: str, folder: str) -> None:
    for name in missing_images(content, file, folder):
        raise UserError(
            f'the image {osp.join(folder, name)}, named in {file}, does not exist: put it there, '
            'or set data_prefix.img of the data set to the folder that holds the images'
        )
    for image in content['images'][::max(1, len(content['images']) // SAMPLES)]:
        read_image(osp.join(folder, image['file_name']))
