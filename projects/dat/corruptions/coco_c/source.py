"""The images that an annotation file names, and their names in a tree."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from projects.dat.runtime.annotations import read_annotations
from projects.dat.runtime.errors import UserError

from .tree import target_name

# sha256sum writes a backslash or a line break in another way than others read it.
_UNFIT = re.compile(r'[\x00-\x1f\\]')


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
    """Read an annotation file; of its entries only ``images`` is looked at.

    Args:
        file: JSON in COCO's format.
        image_format: ``'png'`` or ``'jpeg'``, which decides on the endings in the tree.

    Raises:
        UserError: It cannot be read, names no images, or names them so that no tree can hold them.
    """
    content = read_annotations(file)
    images: dict[str, SourceImage] = {}
    for entry in content['images']:
        name = entry['file_name']
        target = target_name(name, image_format)
        if _UNFIT.search(name):
            raise UserError(
                f'the file_name {name!r} in {file} has a backslash or a control character: rename '
                'the file, with / between folders'
            )
        if target in images:
            raise UserError(
                f'{images[target].file_name} and {name} in {file} would both become {target}: '
                'rename one of them'
            )
        images[target] = SourceImage(entry['id'], name, target)
    sha256 = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    return Source(content, tuple(images.values()), sha256)
