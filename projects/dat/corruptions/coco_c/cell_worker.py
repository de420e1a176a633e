"""What a worker process does: all cells of one image."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from multiprocessing.synchronize import Event
from pathlib import Path

import cv2

from projects.dat.runtime.errors import UserError
from projects.dat.runtime.files import replacing
from projects.dat.runtime.images import read_image

from ..crop import CropForImageNetC
from ..transform import CorruptImage
from .tree import ENDINGS, Cell, SourceImage, cell_folder

_stop: Event | None = None


@dataclass(frozen=True)
class Task:
    """The work on one image.

    Args:
        image: The image.
        cells: Those to make, and those whose files are there without a digest.
        recorded: Digests, by path, of cells that were finished once and are gone.
    """

    image: SourceImage
    cells: tuple[Cell, ...]
    recorded: Mapping[str, str] = field(default_factory=dict)


def start_worker(stop: Event) -> None:
    """Set up a worker process: one thread, no say in Ctrl-C, and no life after its parent's."""
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
    parent = multiprocessing.parent_process()
    # A killed parent cannot end its workers, which would wait for tasks for ever.
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


@dataclass(frozen=True)
class CellWorker:
    """Makes files of what MMDetection's pipeline would load and corrupt.

    Args:
        images: Folder of the images.
        root: Folder of the tree.
        manifest: Manifest of the tree.
    """

    images: str
    root: str
    manifest: dict

    def work(self, task: Task, scratch: Path) -> tuple[dict[str, str], list[str]]:
        """Make what is missing of one image's cells.

        Args:
            task: Which cells of which image.
            scratch: Folder for unfinished files.

        Returns:
            tuple: Digests of the files that are there now, by path; why others are not.

        Raises:
            UserError: A file cannot be written.
        """
        digests, reasons, loaded = {}, {}, None
        for cell in task.cells:
            if _stop.is_set():
                break
            path = f'{cell_folder(*cell)}/{task.image.target}'
            file = Path(self.root, path)
            data = _whole(file)
            if data is None:
                try:
                    loaded = loaded or self._load(task.image)
                    data = self._make(loaded, cell)
                except UserError as reason:
                    reasons[str(reason)] = None
                    continue
                if task.recorded.get(path) not in (None, sha256(data).hexdigest()):
                    reasons[f'{loaded["img_path"]} has changed since the tree was begun'] = None
                    continue
                with replacing(file, scratch) as new:
                    new.write_bytes(data)
            digests[path] = sha256(data).hexdigest()
        return digests, list(reasons)

    def size(self, image: SourceImage, cell: Cell) -> int | None:
        """Bytes of one cell of an image; None when it cannot be made."""
        try:
            return len(self._make(self._load(image), cell))
        except UserError:
            return None

    def _load(self, image: SourceImage) -> dict:
        path = os.path.join(self.images, image.file_name)
        loaded = dict(img=read_image(path), img_path=path)
        if self.manifest['crop'] is None:
            return dict(loaded, img_id=image.image_id)
        return CropForImageNetC()(loaded)  # known by its path, as in classification's loader

    def _make(self, loaded: dict, cell: Cell) -> bytes:
        order, kind = self.manifest['channel_order'], self.manifest['format']
        step = CorruptImage(*cell, seed=self.manifest['seed'], channel_order=order)
        try:
            corrupted = step(dict(loaded))['img']
        except UserError:
            raise
        except Exception as error:  # one odd image must not end a build of many hours
            what = f'{loaded["img_path"]}: {cell_folder(*cell)} failed'
            raise UserError(f'{what}: {type(error).__name__}: {error}') from error
        options = {
            # A tenth smaller than OpenCV's default, blurred images a quarter, for 5 ms more.
            'png': (cv2.IMWRITE_PNG_COMPRESSION, 4, cv2.IMWRITE_PNG_STRATEGY,
                    cv2.IMWRITE_PNG_STRATEGY_RLE),
            'jpeg': (cv2.IMWRITE_JPEG_QUALITY, self.manifest['quality']),
        }[kind]
        return cv2.imencode(ENDINGS[kind], corrupted, options)[1].tobytes()


def _whole(file: Path) -> bytes | None:
    """What is in a file of the tree; None if it is missing or, as after a power cut, broken."""
    try:
        read_image(str(file))
    except UserError:
        return None
    return file.read_bytes()
