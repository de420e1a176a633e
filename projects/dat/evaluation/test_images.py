"""The test images of a config as they are."""

import copy
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import PurePath

import mmengine.fileio as fileio
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from projects.dat.corruptions.transform import image_key
from projects.dat.runtime.config import leaf_datasets
from projects.dat.runtime.errors import UserError
from projects.dat.runtime.preflight.coco import annotation_file


def clean_loader(cfg: Config) -> dict:
    """A copy of the config's test loader, for one cell or to be changed into another's."""
    loader = copy.deepcopy(cfg.test_dataloader)
    loader['persistent_workers'] = False  # they would outlive their cell
    return loader


def datasets_of(cfg: Config) -> list[tuple[str, dict]]:
    """The data sets of the test loader inside all wrappers, with their dotted paths."""
    return list(leaf_datasets(cfg.test_dataloader['dataset'], 'test_dataloader.dataset'))


def images_sha256(cfg: Config) -> str:
    """Tells the config's test images from others.

    It is of the bytes of their annotation files, or of the names and labels of all images.

    Raises:
        UserError: An annotation file cannot be read.
    """
    datasets = [dataset for _, dataset in datasets_of(cfg)]
    if all(dataset.get('ann_file') for dataset in datasets):
        return annotations_sha256(datasets)
    digest = hashlib.sha256()
    for info in _listing(cfg):
        digest.update(f'{image_key(info)} {info.get("gt_label")}\n'.encode())
    return digest.hexdigest()


def image_names(cfg: Config) -> set[str]:
    """Class folder and name, without its ending, of every test image."""
    paths = [PurePath(info['img_path']) for info in _listing(cfg)]
    return {f'{path.parent.name}/{path.stem}' for path in paths}


def build_datasets(cfg: Config) -> list[BaseDataset]:
    """The built data sets of the test loader, inside all wrappers."""
    with DATASETS.switch_scope_and_registry(cfg.get('default_scope', 'mmdet')) as registry:
        return [registry.build(dataset) for _, dataset in datasets_of(cfg)]


def _listing(cfg: Config) -> Iterator[dict]:
    """What the data sets say of each image."""
    for dataset in build_datasets(cfg):
        for i in range(len(dataset)):
            yield dataset.get_data_info(i)


def annotations_sha256(datasets: Iterable[dict]) -> str:
    """Of the bytes of the annotation files that data sets name.

    Raises:
        UserError: One cannot be read.
    """
    digest = hashlib.sha256()
    for dataset in datasets:
        if dataset.get('ann_file'):
            file = annotation_file(dataset)
            try:
                digest.update(fileio.get(file, backend_args=dataset.get('backend_args')))
            except OSError as error:
                raise UserError(
                    f'the annotation file {file} cannot be read ({error.strerror or error}): give '
                    'the place of your data with --data-root PATH'
                ) from None
    return digest.hexdigest()
