"""What a worker process does: all cells of one image."""

import hashlib
import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from pathlib import Path

import cv2
import mmcv
import numpy as np

from projects.dat.runtime.errors import UserError
from projects.dat.runtime.seeds import hash_seed

from ..corrupt import corrupt
from .shard import write_atomically
from .source import SourceImage
from .tree import ENDINGS, cell_folder

Cell = tuple[str, int]
"""A corruption and a severity."""

_END_OF_FILE = {'png': b'IEND\xaeB`\x82', 'jpeg': b'\xff\xd9'}
_stop: Event | None = None


@dataclass(frozen=True)
class Recipe:
    """What all cells of a build have in common; the fields are those of the manifest."""

    images: str
    root: str
    seed: int
    channel_order: str
    image_format: str
    quality: int | None


@dataclass(frozen=True)
class Task:
    """The work on one image.

    Args:
        image: The image.
        missing: Cells to make.
        unrecorded: Cells whose files are there without a digest.
        recorded: Digests, by path, of cells in ``missing`` that were finished once.
    """

    image: SourceImage
    missing: tuple[Cell, ...]
    unrecorded: tuple[Cell, ...] = ()
    recorded: dict[str, str] = field(default_factory=dict)


@dataclass
class Outcome:
    """Digests of the files that are there now, by path, and why others are not."""

    image: SourceImage
    digests: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, None] = field(default_factory=dict)


def start_worker(stop: Event) -> None:
    """Set up a worker process: one thread, no say in Ctrl-C, and no life after its parent's."""
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
    parent = multiprocessing.parent_process()
    # A killed parent cannot end its workers, which would wait for tasks for ever.
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def read_image(recipe: Recipe, file_name: str) -> np.ndarray:
    """Read an image as MMDetection's LoadImageFromFile does.

    Returns:
        np.ndarray: uint8 (H, W, 3), BGR; turned as EXIF says, grey repeated, 16 bit shortened.

    Raises:
        UserError: Why it cannot be read.
    """
    try:
        data = Path(recipe.images, file_name).read_bytes()
        image = mmcv.imfrombytes(data, flag='color', channel_order='bgr', backend='cv2')
    except FileNotFoundError:
        raise UserError('missing') from None
    except OSError as error:
        raise UserError(f'cannot be read: {error.strerror}') from None
    except cv2.error:  # an empty file, or more pixels than OpenCV allows
        image = None
    if image is None:
        raise UserError('no image that OpenCV can decode')
    return image


def make_cell(recipe: Recipe, image: np.ndarray, image_id: int | str, cell: Cell) -> bytes:
    """Corrupt and encode an image of :func:`read_image`.

    Raises:
        UserError: It cannot be corrupted.
    """
    step = {'bgr': 1, 'rgb': -1}[recipe.channel_order]
    seed = hash_seed(recipe.seed, image_id, *cell)
    try:
        corrupted = corrupt(np.ascontiguousarray(image[..., ::step]), *cell, seed)[..., ::step]
    except UserError:
        raise
    except Exception as error:  # one odd image must not end a build of many hours
        raise UserError(f'{cell_folder(*cell)} failed: {type(error).__name__}: {error}') from error
    options = {
        # A tenth smaller than OpenCV's default, blurred images a quarter, for 5 ms more.
        'png': (cv2.IMWRITE_PNG_COMPRESSION, 4, cv2.IMWRITE_PNG_STRATEGY,
                cv2.IMWRITE_PNG_STRATEGY_RLE),
        'jpeg': (cv2.IMWRITE_JPEG_QUALITY, recipe.quality),
    }[recipe.image_format]
    ending = ENDINGS[recipe.image_format]
    return cv2.imencode(ending, np.ascontiguousarray(corrupted), options)[1].tobytes()


def cell_size(recipe: Recipe, image: SourceImage, cell: Cell) -> int | None:
    """Bytes of one cell of an image; None when it cannot be made."""
    try:
        return len(make_cell(recipe, read_image(recipe, image.file_name), image.image_id, cell))
    except UserError:
        return None


def work(recipe: Recipe, task: Task, scratch: str) -> Outcome:
    """Make the missing cells of one image, and take the digests of all.

    Args:
        recipe: What all cells have in common.
        task: Which cells of which image.
        scratch: Folder for unfinished files.

    Raises:
        UserError: A file cannot be written.
    """
    outcome = Outcome(task.image)
    missing = list(task.missing)
    for cell in task.unrecorded:
        path = f'{cell_folder(*cell)}/{task.image.target}'
        data = Path(recipe.root, path).read_bytes()
        if _is_whole(data, recipe.image_format):
            outcome.digests[path] = hashlib.sha256(data).hexdigest()
        else:
            missing.append(cell)
    if not missing:
        return outcome
    try:
        image = read_image(recipe, task.image.file_name)
    except UserError as reason:
        outcome.reasons[str(reason)] = None
        return outcome
    for cell in missing:
        if _stop.is_set():
            break
        path = f'{cell_folder(*cell)}/{task.image.target}'
        try:
            data = make_cell(recipe, image, task.image.image_id, cell)
        except UserError as reason:
            outcome.reasons[str(reason)] = None
            continue
        digest = hashlib.sha256(data).hexdigest()
        if task.recorded.get(path, digest) != digest:
            outcome.reasons['the source image has changed since the tree was begun'] = None
            continue
        write_atomically(os.path.join(recipe.root, path), data, scratch)
        outcome.digests[path] = digest
    return outcome


def _is_whole(data: bytes, image_format: str) -> bool:
    # Of a JPEG that breaks off, OpenCV decodes the beginning.
    if not data.endswith(_END_OF_FILE[image_format]):
        return False
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None
