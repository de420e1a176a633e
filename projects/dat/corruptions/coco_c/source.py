"""The images that an annotation file in COCO's format names."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from projects.dat.runtime.errors import UserError

from .tree import target_name


@dataclass(frozen=True)
class SourceImage:
    """One image: its id, its path below the image folder and its path in a cell of the tree."""

    image_id: int | str
    file_name: str
    target: str


@dataclass(frozen=True)
class Source:
    """An annotation file: its content, its images and the SHA-256 of its bytes."""

    content: dict
    images: tuple[SourceImage, ...]
    sha256: str

    def annotations(self) -> bytes:
        """The annotation file with the tree's file names, and all else as it was."""
        entries = [
            dict(entry, file_name=image.target)
            for entry, image in zip(self.content['images'], self.images, strict=True)
        ]
        return json.dumps(dict(self.content, images=entries)).encode()


def read_source(file: str | Path, image_format: str) -> Source:
    """Read an annotation file.

    Args:
        file: JSON in COCO's format; of its entries only ``images`` is looked at.
        image_format: ``'png'`` or ``'jpeg'``, which decides on the endings in the tree.

    Raises:
        UserError: It cannot be read, names no images, or names them so that no tree can hold them.
    """
    try:
        data = Path(file).read_bytes()
        content = json.loads(data)
    except OSError as error:
        raise UserError(
            f'the annotation file {file} cannot be read ({error.strerror}): give a JSON file in '
            f"COCO's format"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f'the annotation file {file} is not JSON: {error}') from None
    entries = content.get('images') if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise UserError(
            f'the annotation file {file} names no images: COCO\'s format has a list "images"'
        )
    images = tuple(_read_entry(entry, file, image_format) for entry in entries)
    _check_unique(images, file)
    return Source(content, images, hashlib.sha256(data).hexdigest())


def _read_entry(entry: object, file: str | Path, image_format: str) -> SourceImage:
    fields = entry if isinstance(entry, dict) else {}
    image_id, name = fields.get('id'), fields.get('file_name')
    if type(image_id) not in (int, str) or not isinstance(name, str):
        raise UserError(
            f'an image of {file} has no "id" or no "file_name", which each image needs: '
            f'{json.dumps(entry)[:100]}'
        )
    path = PurePosixPath(name)
    if not path.name or path.is_absolute() or '..' in path.parts:
        raise UserError(
            f'the file_name {name!r} in {file} leaves the image folder: it must be a path below it'
        )
    # sha256sum writes a backslash or a line break in another way than others read it.
    if not _is_encodable(name) or '\\' in name or any(ord(letter) < 32 for letter in name):
        raise UserError(
            f'the file_name {name!r} in {file} has a backslash or a control character: rename '
            f'the file, with / between folders'
        )
    return SourceImage(image_id, name, target_name(name, image_format))


def _is_encodable(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def _check_unique(images: tuple[SourceImage, ...], file: str | Path) -> None:
    ids: set[int | str] = set()
    names: dict[str, str] = {}
    for image in images:
        if image.image_id in ids:
            raise UserError(
                f'the annotation file {file} has several images with the id {image.image_id!r}: '
                f'each image needs its own'
            )
        if image.target in names:
            raise UserError(
                f'{names[image.target]} and {image.file_name} in {file} would both become '
                f'{image.target}: rename one of them'
            )
        ids.add(image.image_id)
        names[image.target] = image.file_name
