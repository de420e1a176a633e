"""The layout of a COCO-C tree: names of its images, manifest and digests.

A tree holds ``<corruption>/<severity>/<file_name>`` with the ending of its image format,
``annotations.json`` with these file names, ``manifest.json`` that says what all of them were made
from, and ``digests/*.sha256``, which ``sha256sum -c`` reads from the tree's root.
"""

import json
import os
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath

import cv2
import numpy
import PIL
import scipy

from projects.dat.runtime.annotations import read_annotations
from projects.dat.runtime.errors import UserError
from projects.dat.runtime.files import writing
from projects.dat.runtime.images import IMAGE_ENDINGS

from ..crop import SIDE
from ..names import CHANNEL_ORDERS

SCHEMA = 1
MANIFEST = 'manifest.json'
ANNOTATIONS = 'annotations.json'
DIGESTS = 'digests'
SCRATCH = '.building'
ENDINGS = {'png': '.png', 'jpeg': '.jpg'}

Cell = tuple[str, int]
"""A corruption and a severity."""

_DIGEST_LINE = re.compile(rb'^([0-9a-f]{64})  (.+)\n', re.MULTILINE)
_MANIFEST_FITS = {
    'schema': lambda x, _: x == SCHEMA,
    'annotations_sha256': lambda x, _: re.fullmatch('[0-9a-f]{64}', str(x)),
    'seed': lambda x, _: type(x) is int and x >= 0,
    'channel_order': lambda x, _: x in CHANNEL_ORDERS,
    'format': lambda x, _: x in list(ENDINGS),
    'quality': lambda x, manifest: x is None
    if manifest['format'] == 'png'
    else type(x) is int and 1 <= x <= 100,
    'crop': lambda x, _: x in (None, SIDE),
    'packages': lambda x, _: isinstance(x, dict) and all(isinstance(v, str) for v in x.values()),
}


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
    images: list[SourceImage]
    sha256: str

    def annotations(self) -> bytes:
        """The annotation file with the tree's file names, and all else as it was."""
        entries = zip(self.content['images'], self.images, strict=True)
        images = [dict(entry, file_name=image.target) for entry, image in entries]
        return json.dumps(dict(self.content, images=images)).encode()


def read_source(file: str | Path, image_format: str) -> Source:
    """Read an annotation file in COCO's format; of its entries only ``images`` is looked at.

    Args:
        file: The file, or a folder: then all images at and below it, told by their paths.
        image_format: ``'png'`` or ``'jpeg'``, which decides on the endings in the tree.

    Raises:
        UserError: It cannot be read, names no images, or names them so that no tree can hold them.
    """
    content = _list_folder(file) if Path(file).is_dir() else read_annotations(file)
    images: dict[str, SourceImage] = {}
    for entry in content['images']:
        name = entry['file_name']
        target = target_name(name, image_format)
        # sha256sum writes a backslash or a line break in another way than others read it.
        if re.search(r'[\x00-\x1f\\]', name):
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
    data = json.dumps(content).encode() if Path(file).is_dir() else Path(file).read_bytes()
    return Source(content, list(images.values()), sha256(data).hexdigest())


def _list_folder(folder: str | Path) -> dict:
    names = sorted(n for n in list_files(folder) if n.lower().endswith(IMAGE_ENDINGS))
    if not names:
        raise UserError(
            f'{folder} has no images ({", ".join(IMAGE_ENDINGS)}): name the folder of some'
        )
    if flat := [name for name in names if os.sep not in name]:
        raise UserError(
            f'expected images in class folders, found {flat[0]} in {folder} itself: name the '
            'folder that holds the class folders, or give --annotations'
        )
    return dict(images=[dict(id=name, file_name=name) for name in names])


def target_name(file_name: str, image_format: str) -> str:
    """The annotation file's ``file_name`` with the ending of ``'png'`` or ``'jpeg'``."""
    return PurePosixPath(file_name).with_suffix(ENDINGS[image_format]).as_posix()


def cell_folder(corruption: str, severity: int) -> str:
    """Folder of one corruption and severity, relative to the tree's root."""
    return f'{corruption}/{severity}'


def list_files(root: str | Path, folder: str = '') -> set[str]:
    """Paths of all files below ``folder``, relative to it."""
    top = os.path.join(root, folder)
    return {
        os.path.relpath(os.path.join(where, file), top)
        for where, _, files in os.walk(top)
        for file in files
    }


def make_manifest(
    annotations_sha256: str, seed: int, channel_order: str, image_format: str, quality: int | None,
    crop: int | None = None,
) -> dict:
    """What all images of a tree have in common, and the versions of what makes them.

    ``crop`` is None for whole images, or the side in pixels that they were cut to before.
    """
    return {
        'schema': SCHEMA,
        'annotations_sha256': annotations_sha256,
        'seed': seed,
        'channel_order': channel_order,
        'format': image_format,
        'quality': quality,
        'crop': crop,
        'packages': {
            'numpy': numpy.__version__,
            'opencv': cv2.__version__,
            'pillow': PIL.__version__,
            'scipy': scipy.__version__,
        },
    }


def describe(manifest: dict) -> dict[str, str | int]:
    """What figures on images of such a tree depend on, by name.

    Images that are corrupted in the loader's workers are those of a tree of png files.
    """
    quality = '' if manifest['quality'] is None else f' {manifest["quality"]}'
    packages = ', '.join(f'{name} {v}' for name, v in sorted(manifest['packages'].items()))
    return dict(
        seed=manifest['seed'],
        channel_order=manifest['channel_order'],
        format=manifest['format'] + quality,
        corrupted_with=packages,
    )


def check_options(
    root: str | Path, manifest: dict, seed: int | None, channel_order: str | None
) -> None:
    """Check that a tree was built with what is asked for; None asks for nothing.

    Raises:
        UserError: It was built with something else.
    """
    for name, asked in dict(seed=seed, channel_order=channel_order).items():
        built = manifest[name]
        if asked not in (None, built):
            raise UserError(
                f'{root} was built with the {name.replace("_", " ")} {built}, but {asked} is asked '
                'for: leave that option out, or build another tree'
            )


def read_manifest(root: str | Path) -> dict:
    """Read the manifest of the tree at ``root``, as :func:`make_manifest` gives it.

    Raises:
        UserError: It is missing or no such manifest.
    """
    file = Path(root, MANIFEST)
    try:
        manifest = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f'{root} is no COCO-C tree, for it has no {MANIFEST}: name the folder that '
            'tools/build_coco_c.py wrote'
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f'{file} cannot be read ({error}): build the tree anew') from None
    if isinstance(manifest, dict):
        manifest.setdefault('crop', None)  # of trees from before there was a choice
    for key, fits in _MANIFEST_FITS.items():
        there = isinstance(manifest, dict) and key in manifest
        if not there or not fits(manifest[key], manifest):
            raise UserError(
                f'{file} is no manifest of a COCO-C tree of schema {SCHEMA}: {key} is missing or '
                'wrong; build the tree anew with this version'
            )
    return manifest


def check_manifest(root: str | Path, wanted: dict) -> bool:
    """Whether there is a manifest already; nothing at all may be in its place either.

    Raises:
        UserError: The tree was begun from something else, or the folder holds something else.
    """
    root = Path(root)
    if root.exists() and not root.is_dir():
        raise UserError(f'{root} is a file: name a folder for the tree')
    # Listed before the look for the manifest: another rank may be about to write it.
    foreign = {file.name for file in root.iterdir()} if root.exists() else set()
    if not (root / MANIFEST).exists():
        if foreign - {DIGESTS, SCRATCH}:
            raise UserError(f'{root} holds files but no {MANIFEST}: name a new or an empty folder')
        return False
    found = read_manifest(root)
    for key, value in wanted.items():
        if found[key] != value:
            raise UserError(
                f'{root} was begun with {_describe(key, found[key], value)}, but this run has '
                f'{_describe(key, value, found[key])}: name another folder or run with what it '
                'was begun with'
            )
    return True


def _describe(key: str, value: object, other: object) -> str:
    if key == 'annotations_sha256':
        return f'images or an annotation file of digest {value[:12]}...'
    if key == 'packages':
        return ', '.join(f'{name} {v}' for name, v in value.items() if v != other.get(name))
    return f'{key.replace("_", " ")} {value}'


def create_manifest(root: str | Path, wanted: dict, scratch: Path) -> None:
    """Write the manifest, or check the one that is there.

    Safe when many processes do it at once: one of them wins, and the others compare.

    Args:
        root: Folder of the tree.
        wanted: As :func:`make_manifest` gives it.
        scratch: A folder of this process alone, in the same file system.

    Raises:
        UserError: The tree was begun from something else.
    """
    if check_manifest(root, wanted):
        return
    new = scratch / MANIFEST
    with writing(new):
        new.write_text(json.dumps(wanted, indent=1) + '\n')
    try:
        os.link(new, Path(root, MANIFEST))  # unlike os.replace, fails where the file exists
    except FileExistsError:
        check_manifest(root, wanted)
    except OSError:  # a file system without hard links
        os.replace(new, Path(root, MANIFEST))
    new.unlink(missing_ok=True)


def digest_line(path: str, digest: str) -> bytes:
    """One line as ``sha256sum`` writes it; ``path`` is relative to the tree's root."""
    return f'{digest}  '.encode() + os.fsencode(path) + b'\n'


def read_digests(root: str | Path) -> dict[str, str]:
    """SHA-256 of the finished files, by their paths relative to the tree's root.

    What is no whole line, as a killed process may leave it, counts as not there.
    """
    return {
        os.fsdecode(path): digest.decode()
        for file in sorted(Path(root, DIGESTS).glob('*.sha256'))
        for digest, path in _DIGEST_LINE.findall(file.read_bytes())
    }
