"""Annotation files in COCO's format: are they whole, and do their file names stay in the folder?"""

import json
import math
import os
import os.path as osp
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from .errors import UserError

FORMAT = 'https://cocodataset.org/#format-data'
CURE = f"export it in COCO's format, {FORMAT}"

# What no path can hold: NUL, and halves of characters outside of those that Python makes of bytes.
_NO_NAME = re.compile('[\0\ud800-\udc7f\udd00-\udfff]')


def read_annotations(file: str | Path) -> dict:
    """Read an annotation file and check its images.

    Returns:
        dict: Its content. The list 'images' is not empty; each has an 'id' of its own, a whole
        number or a string, and a 'file_name' that is a relative path without '..'.

    Raises:
        UserError: The file is not JSON or not of COCO's form, or a name leaves the image folder.
    """
    try:
        content = json.loads(Path(file).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f'the annotation file {file} cannot be read as JSON '
            f'({getattr(error, "strerror", None) or error}): download or export it again'
        ) from None
    if not isinstance(content, dict):
        raise UserError(f'{file} holds a JSON {type(content).__name__}, not an object: {CURE}')
    _check_entries(content, file, 'images', 'image', {'file_name'})
    if not content['images']:
        raise UserError(f'the annotation file {file} lists no images: {CURE}')
    for image in content['images']:
        name = image['file_name']
        if type(image['id']) not in (int, str) or not isinstance(name, str):
            raise UserError(
                f'image {image["id"]!r} in {file} has the file_name {name!r}: an id is a whole '
                f'number or a string, a file_name a string; {CURE}'
            )
        check_name(name, file)
    return content


def check_name(name: str, file: str | Path) -> None:
    """Check that an image's name in an annotation file is a relative path without '..'.

    Raises:
        UserError: It is not.
    """
    path = PurePosixPath(name.replace('\\', '/'))
    if not path.name or path.is_absolute() or '..' in path.parts or _NO_NAME.search(name):
        raise _leaves(name, file)


def check_labels(content: dict, file: str | Path, split: str) -> None:
    """Check what training and evaluation read beside the images' names.

    Args:
        content: From :func:`read_annotations`; a test file that comes without annotations gets an
            empty list of them.
        file: Its file, for messages.
        split: 'train', 'val' or 'test'. Evaluation needs 'iscrowd' of every annotation.

    Raises:
        UserError: Sizes, annotations or categories are not of COCO's form.
    """
    if split == 'test':
        content.setdefault('annotations', [])
    crowd = set() if split == 'train' else {'iscrowd'}
    _check_entries(content, file, 'images', 'image', {'width', 'height'})
    _check_entries(
        content, file, 'annotations', 'annotation',
        {'image_id', 'category_id', 'bbox', 'area'} | crowd,
    )
    _check_entries(content, file, 'categories', 'category', {'name'})
    for kind, key in (('image', 'width'), ('image', 'height'), ('annotation', 'area')):
        for entry in content[f'{kind}s']:
            if not _is_number(entry[key]):
                raise UserError(
                    f'{kind} {entry["id"]} in {file} has the {key} {entry[key]!r}, not a number: '
                    f'{CURE}'
                )
    for entry in content['annotations']:
        box = entry['bbox']
        if not (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))):
            raise UserError(
                f'annotation {entry["id"]} in {file} has the bbox {box!r}, not four numbers '
                f'[x, y, width, height]: {CURE}'
            )


def missing_images(content: dict, file: str | Path, folder: str | Path) -> list[str]:
    """Names of images that are not in ``folder``.

    Folders are listed rather than files asked for one by one: listing COCO's 118,287 images takes
    a fraction of a second.

    Args:
        content: From :func:`read_annotations`.
        file: Its file, for messages.
        folder: Image folder.

    Raises:
        UserError: A link leads out of the folder.
    """
    root = osp.realpath(folder)
    listings: dict[str, dict[str, bool]] = {}
    missing = []
    for image in content['images']:
        name = image['file_name']
        parent, base = osp.split(osp.normpath(name))
        if parent not in listings:
            _check_inside(root, parent, name, file)
            listings[parent] = _list(osp.join(folder, parent))
        if base not in listings[parent]:
            missing.append(name)
        elif listings[parent][base]:
            _check_inside(root, name, name, file)
    return missing


def some(names: Iterable[object], most: int = 8) -> str:
    """The first few of many names, for a sentence."""
    names = [str(name) for name in names]
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(names[:most]) + more


def _check_entries(content: dict, file: str | Path, key: str, what: str, keys: set[str]) -> None:
    entries, keys = content.get(key), keys | {'id'}
    if not isinstance(entries, list):
        raise UserError(f'the annotation file {file} has no list "{key}": {CURE}')
    for entry in entries:
        if not isinstance(entry, dict) or not keys <= entry.keys():
            named = f'{what} {entry.get("id", "")}' if isinstance(entry, dict) else f'an {what}'
            lacking = sorted(keys - entry.keys()) if isinstance(entry, dict) else sorted(keys)
            raise UserError(f'{named} in {file} has no {some(lacking)}: {CURE}')
    for name, count in Counter(str(entry['id']) for entry in entries).most_common(1):
        if count > 1:
            raise UserError(
                f'the {what} id {name} appears {count} times in {file}: give every entry an id of '
                'its own'
            )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _list(folder: str) -> dict[str, bool]:
    """Names in a folder, and whether each is a symbolic link; a missing folder is empty."""
    if not osp.isdir(folder):
        return {}
    with os.scandir(folder) as entries:
        return {entry.name: entry.is_symlink() for entry in entries}


def _check_inside(root: str, path: str, name: str, file: str | Path) -> None:
    if osp.commonpath([root, osp.realpath(osp.join(root, path))]) != root:
        raise _leaves(name, file)


def _leaves(name: str, file: str | Path) -> UserError:
    return UserError(
        f'the file_name {name!r} in {file} leaves the image folder or is no name: name files '
        'inside it by relative paths without ".." and without links that lead out'
    )
