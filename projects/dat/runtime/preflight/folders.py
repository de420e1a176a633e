"""Do folders of images for a classifier exist, and do they fit the config?"""

import math
import os.path as osp
from collections.abc import Iterator, Sequence
from itertools import islice

from mmengine.config import Config
from mmengine.fileio import LocalBackend, list_from_file
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS

from ..annotations import check_name, missing_images, some
from ..errors import UserError
from ..images import read_image
from .coco import SAMPLES
from .leaves import LeafDataset
from .model import HEAD_COUNT, class_counts

PLACES = ('data_root', 'data_prefix', 'ann_file')


def class_folders(dataset: dict, path: str = 'the data set') -> list[str]:
    """The class folders of a data set; a label is the place of its folder among them.

    Args:
        dataset (dict): Config of a CustomDataset or a descendant, such as ImageNet.
        path (str): Its dotted path, for messages. Defaults to 'the data set'.

    Returns:
        list[str]: Sorted names, as MMPretrain's ``find_folders`` gives them.

    Raises:
        UserError: The folder that shall hold them does not exist.
    """
    data = _unread(dataset, path)
    _check_places(data, path)
    return _folders(data)


def check_folders(cfg: Config, found: Sequence[LeafDataset]) -> tuple[str, ...] | None:
    """Check the data sets that are folders of images, with or without a list of them.

    Args:
        cfg (Config): A whole MMEngine config.
        found (Sequence[LeafDataset]): Its data sets; those that read other formats or are not on a
            local disk are passed over.

    Returns:
        tuple[str, ...] | None: Class names of the first that has class folders, or else class names
        in the config; None where there is none.

    Raises:
        UserError: A folder or file is missing or does not fit.
    """
    cfgs = {leaf.path: leaf.cfg for leaf in found if _reads_folders(leaf)}
    all_data = {path: _unread(dataset, path) for path, dataset in cfgs.items()}
    for path, data in all_data.items():
        _check_places(data, path)
    classes = []
    by_folder: list[tuple[CustomDataset, list[str]]] = []
    for path, data in all_data.items():
        if data.with_label and not data.ann_file:
            folders = _folders(data)
            _check_folders(data, folders, path)
            by_folder.append((data, folders))
            classes.append(tuple(folders))
    for other in by_folder[1:]:
        _check_same(*by_folder[0], *other)
    for path, data in all_data.items():
        if data.ann_file:
            _check_list(data, path, class_counts(cfg).get(HEAD_COUNT))
            if cfgs[path].get('classes') or (cfgs[path].get('metainfo') or {}).get('classes'):
                classes.append(data.CLASSES)  # else they came with ImageNet, whatever the list has
        else:
            _check_images(data, path)
    return classes[0] if classes else None


def _reads_folders(leaf: LeafDataset) -> bool:
    """Whether a data set reads as CustomDataset does, and from a local disk."""
    return (
        isinstance(leaf.kind, type)
        and issubclass(leaf.kind, CustomDataset)
        and leaf.kind.load_data_list is CustomDataset.load_data_list
        and '://' not in repr([leaf.cfg.get(key) for key in PLACES])
    )


def _unread(dataset: dict, path: str) -> CustomDataset:
    """The data set as a run builds it, before it looks for images."""
    try:
        changes = dict(pipeline=[], lazy_init=True, _scope_='mmpretrain')
        data = DATASETS.build({**dataset, **changes})
    except (AssertionError, OSError, ValueError) as error:
        reason = str(error).split('.py: ')[-1]  # MMEngine puts the class and its file before it
        raise UserError(f'{path} is refused by MMPretrain: {reason}') from None
    if 'img_path' not in data.data_prefix:  # detection calls it img
        raise UserError(
            f'{path}.data_prefix has {some(data.data_prefix)}, but MMPretrain looks for img_path: '
            'give the folder alone, such as data_prefix="train"'
        )
    return data


def _check_places(data: CustomDataset, path: str) -> None:
    places = {
        'data root': (data.data_root or '.', osp.isdir),
        'image folder': (data.img_prefix, osp.isdir),
        'annotation file': (data.ann_file or '.', osp.isfile if data.ann_file else osp.isdir),
    }
    for what, (place, exists) in places.items():
        if not exists(place):
            raise UserError(
                f'the {what} {place!r} of {path} does not exist: give the place of your data with '
                f'--data-root PATH or with --cfg-options {path}.data_root=PATH'
            )


def _folders(data: CustomDataset) -> list[str]:
    return sorted(LocalBackend().list_dir_or_file(data.img_prefix, list_file=False))


def _check_folders(data: CustomDataset, folders: list[str], path: str) -> None:
    place = f'{data.img_prefix} of {path}'
    if not folders:
        raise UserError(
            f'there are no class folders in {place}: put the images of each class into a folder of '
            f'its own there, or name a file of lines "image label" with {path}.ann_file'
        )
    names = data.CLASSES
    if names is None:
        return
    if len(names) != len(folders):
        raise UserError(
            f'there are {len(folders)} class folders ({some(folders, 3)}) in {place}, but '
            f'{type(data).__name__} has {len(names)} class names ({some(names, 2)}): set '
            f'metainfo.classes of every data set to the {len(folders)} folders, and the '
            f"head's num_classes to their number"
        )
    if set(names) == set(folders) and list(names) != folders:
        raise UserError(
            f'{path}.metainfo.classes names the class folders in another order ({some(names)}) '
            f'than the sorted one, which makes the labels: write {some(folders)}'
        )


def _check_same(
    first: CustomDataset, folders: list[str], second: CustomDataset, others: list[str]
) -> None:
    """Check that two data sets give the same labels, which are places among sorted folders."""
    differing = [
        f'{data.img_prefix} lacks {some(lacking)}'
        for data, lacking in (
            (first, [name for name in others if name not in folders]),
            (second, [name for name in folders if name not in others]),
        )
        if lacking
    ]
    if differing:
        raise UserError(
            'labels are places among the sorted class folders, so these must be the same in '
            f'{first.img_prefix} and {second.img_prefix}, but {" and ".join(differing)}: add '
            'what is missing, or remove what is too much'
        )


def _check_images(data: CustomDataset, path: str) -> None:
    folders = _folders(data) if data.with_label else ['']
    some_of_each = math.ceil(SAMPLES / len(folders))
    for at, name in enumerate(folders):
        folder = osp.join(data.img_prefix, name)
        images = list(islice(_images(data, folder), some_of_each))
        if not images:
            raise UserError(
                f'the folder {folder} of {path} has no images ({", ".join(sorted(data.extensions))}'
                '): put some into it, or remove it in all splits'
            )
        if at % max(1, len(folders) // SAMPLES) == 0:
            for image in images:
                read_image(image)


def _images(data: CustomDataset, folder: str) -> Iterator[str]:
    for name in LocalBackend().list_dir_or_file(folder, list_dir=False, recursive=True):
        if data.is_valid_file(name):
            yield osp.join(folder, name)


def _check_list(data: CustomDataset, path: str, number: int | None) -> None:
    names, labels = _read_list(data.ann_file, data.with_label)
    if not names:
        raise UserError(f'{data.ann_file} of {path} lists no images: write a line for each')
    if labels and (min(labels) < 0 or (number and max(labels) >= number)):
        limit, cure = '', ''
        if number and max(labels) >= number:
            limit = f' to {number - 1}, for {HEAD_COUNT} is {number}'
            cure = f', or use --cfg-options {HEAD_COUNT}={max(labels) + 1}'
        raise UserError(
            f'the labels in {data.ann_file} of {path} go from {min(labels)} to {max(labels)}, not '
            f'from 0{limit}: correct them{cure}'
        )
    content = {'images': [{'file_name': name} for name in names]}
    for name in missing_images(content, data.ann_file, data.img_prefix):
        raise UserError(
            f'the image {osp.join(data.img_prefix, name)}, named in {data.ann_file}, does not '
            f'exist: put it there, or set {path}.data_prefix to the folder that holds the images'
        )
    for name in names[::max(1, len(names) // SAMPLES)]:
        read_image(osp.join(data.img_prefix, name))


def _read_list(file: str, with_label: bool) -> tuple[list[str], list[int]]:
    """Names and labels; no labels of a list that has names alone."""
    names, labels = [], []
    try:
        lines = list_from_file(file)
    except ValueError as error:
        raise UserError(f'{file} cannot be read as text ({error}): save it as UTF-8') from None
    for at, line in enumerate(lines, 1):
        name, label = line, None
        if with_label:
            name, _, label = line.strip().rpartition(' ')
            if not name or not label.removeprefix('-').isdecimal():
                raise UserError(
                    f'line {at} of {file} is {line!r}, not an image and its label: write a line '
                    'such as "folder/image.jpg 3" for each image'
                )
            labels.append(int(label))
        check_name(name, file)
        names.append(name)
    return names, labels
