"""Is a file a COCO annotation file, and does it know the config's classes?"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence

from projects.dat.runtime.errors import UserError

IMAGE_KEYS = {'id', 'file_name', 'width', 'height'}
OBJECT_KEYS = {'id', 'image_id', 'category_id', 'bbox', 'area'}
FORMAT = 'https://cocodataset.org/#format-data'


def read_annotations(file: str, split: str) -> dict:
    """Read and check a COCO annotation file.

    Args:
        file (str): JSON file.
        split (str): 'train', 'val' or 'test'. Evaluation needs 'iscrowd' of every annotation,
            training does not; a test file may come without annotations.

    Returns:
        dict: Its content, with the lists 'images', 'annotations' and 'categories'.

    Raises:
        UserError: The file is not JSON or not of COCO's form.
    """
    try:
        with open(file, encoding='utf-8') as stream:
            content = json.load(stream)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f'the annotation file {file} cannot be read as JSON ({error}): download or export it '
            'again'
        ) from None
    if not isinstance(content, dict):
        raise UserError(f'{file} holds a JSON {type(content).__name__}, not an object: {_cure()}')
    if split == 'test':
        content.setdefault('annotations', [])
    for key in ('images', 'annotations', 'categories'):
        if not isinstance(content.get(key), list):
            raise UserError(f'the annotation file {file} has no list "{key}": {_cure()}')
    if not content['images']:
        raise UserError(f'the annotation file {file} lists no images: {_cure()}')
    object_keys = OBJECT_KEYS if split == 'train' else OBJECT_KEYS | {'iscrowd'}
    _check_entries(file, 'image', content['images'], IMAGE_KEYS)
    _check_entries(file, 'category', content['categories'], {'id', 'name'})
    if content['annotations']:
        _check_entries(file, 'annotation', content['annotations'], object_keys)
    for entry in content['images']:
        if not isinstance(entry['file_name'], str):
            raise UserError(
                f'image {entry["id"]} in {file} has the file_name {entry["file_name"]!r}, not a '
                f'string: {_cure()}'
            )
    for entry in content['annotations']:
        box = entry['bbox']
        if not (isinstance(box, list) and len(box) == 4 and all(_is_number(x) for x in box)):
            raise UserError(
                f'annotation {entry["id"]} in {file} has the bbox {box!r}, not four numbers '
                f'[x, y, width, height]: {_cure()}'
            )
    return content


def check_classes(content: dict, file: str, classes: Sequence[str], path: str) -> None:
    """Check that MMDetection will give every class the label that the config means.

    MMDetection numbers the classes in the file's order, whatever the order in the config, and
    skips names that the file lacks: labels then shift without a word.

    Args:
        content (dict): From :func:`read_annotations`.
        file (str): Its file, for the message.
        classes (Sequence[str]): Class names of the config.
        path (str): Dotted path of the data set, for the message.

    Raises:
        UserError: Names are missing in the file, appear twice or come in another order.
    """
    names = [category['name'] for category in content['categories']]
    cure = f'set {path}.metainfo.classes to names of the file, which has {_some(names)}'
    missing = [name for name in classes if name not in set(names)]
    if len(missing) == len(classes):
        raise UserError(
            f'none of the {len(classes)} classes of the config ({_some(classes)}) is in {file}: '
            f'{cure}, and num_classes of the head to their number'
        )
    if missing:
        raise UserError(f"the config's classes {_some(missing)} are not in {file}: {cure}")
    matched = [name for name in names if name in set(classes)]
    for names_somewhere, where in ((classes, 'the config'), (matched, file)):
        name, count = Counter(names_somewhere).most_common(1)[0]
        if count > 1:
            raise UserError(f'the class {name!r} appears {count} times in {where}: keep it once')
    if matched != list(classes):
        at = next(i for i, (a, b) in enumerate(zip(matched, classes, strict=True)) if a != b)
        raise UserError(
            f'class {at} is {classes[at]!r} in the config but {matched[at]!r} in {file}, whose '
            f'order MMDetection follows: write {path}.metainfo.classes in the order of the file'
        )


def _check_entries(file: str, what: str, entries: list, keys: set[str]) -> None:
    for entry in entries:
        if not isinstance(entry, dict) or not keys <= entry.keys():
            named = f'{what} {entry.get("id", "")}' if isinstance(entry, dict) else f'an {what}'
            lacking = sorted(keys - entry.keys()) if isinstance(entry, dict) else sorted(keys)
            raise UserError(f'{named} in {file} has no {_some(lacking)}: {_cure()}')
    count = Counter(str(entry['id']) for entry in entries).most_common(1)
    if count and count[0][1] > 1:
        raise UserError(f'the {what} id {count[0][0]} appears {count[0][1]} times in {file}: '
                        'give every entry an id of its own')


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _some(names: Iterable[str], most: int = 8) -> str:
    names = [str(name) for name in names]
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(names[:most]) + more


def _cure() -> str:
    return f"export it in COCO's format, {FORMAT}"
