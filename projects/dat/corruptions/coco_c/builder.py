"""Build a COCO-C tree in parallel, so that it can be killed at any moment and go on."""

import logging
import multiprocessing
import shutil
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import cycle, islice
from pathlib import Path
from statistics import mean

from tqdm import tqdm

from projects.dat.runtime.annotations import missing_images
from projects.dat.runtime.errors import UserError
from projects.dat.runtime.files import replacing, writing

from ..crop import SIDE
from . import tree
from .cell_worker import CellWorker, Task, start_worker
from .shard import Shard
from .tree import Cell, Source, SourceImage, read_source

_MARGIN = 1.1  # of disk space
_SAMPLES = 19  # at least one for each corruption, on different images
_logger = logging.getLogger(__name__)


@dataclass
class BuildReport:
    """What a build did.

    Args:
        cells: Number of image-cells of this rank that are there now.
        failures: For each image that was not built, wholly or in part, why: sentences that name it.
    """

    cells: int = 0
    failures: dict[str, list[str]] = field(default_factory=dict)


def build(
    images: str | Path, annotations: str | Path | None, out: str | Path, cells: Sequence[Cell], *,
    seed: int = 0, channel_order: str = 'bgr', image_format: str = 'png',
    quality: int | None = None, workers: int = 1, rank: int = 0, world: int = 1,
) -> BuildReport:
    """Build a tree, or what is missing of it.

    Each rank makes every ``world``-th image, without talking to the others.

    Args:
        images: Folder of the images.
        annotations: Annotation file in COCO's format that names them. None for all images of the
            folder, each cut to 224 px as ImageNet-C's are.
        out: Folder of the tree.
        cells: Corruptions with severities; others that the tree has stay as they are.
        seed: Seed of the tree, at least 0. Defaults to 0.
        channel_order: ``'bgr'`` gives the corruptions what MMDetection's loader returns, as
            published figures have it; ``'rgb'`` gives them RGB. Defaults to 'bgr'.
        image_format: ``'png'`` or ``'jpeg'``. Defaults to 'png'.
        quality: 1..100 for jpeg, None for png. Defaults to None.
        workers: Number of worker processes. Defaults to 1.
        rank: 0..world - 1. Defaults to 0.
        world: Number of ranks. Defaults to 1.

    Raises:
        UserError: The annotation file is unfit or names a link that leads out of the image folder,
            ``out`` holds another tree, the disk is too small or cannot be written.
    """
    if annotations is None and not Path(images).is_dir():
        raise UserError(f'the image folder {images} does not exist: name the folder of the images')
    source = read_source(annotations or images, image_format)
    if not Path(images).is_dir():
        raise UserError(
            f'the image folder {images} does not exist: give the folder that the file names of '
            f'{annotations} start from'
        )
    # Those that are missing fail one by one.
    missing_images(source.content, annotations or images, images)
    if Path(images).resolve() in Path(out).resolve().parents and annotations is None:
        raise UserError(
            f'{out} lies in {images}, whose images would include those of the tree from now on: '
            'name another folder with --out'
        )
    crop = SIDE if annotations is None else None
    manifest = tree.make_manifest(source.sha256, seed, channel_order, image_format, quality, crop)
    tree.check_manifest(out, manifest)
    digests = tree.read_digests(out)
    tasks = list(_plan(source, out, cells, digests))
    worker = CellWorker(str(images), str(out), manifest)
    with _pool(workers) as pool:
        _check_disk_space(worker, tasks, pool)
        with Shard(out, rank, world) as shard:
            tree.create_manifest(out, manifest, shard.scratch)
            for cell in cells:
                with writing(out):  # verification takes from the folders what should be there
                    Path(out, tree.cell_folder(*cell)).mkdir(parents=True, exist_ok=True)
            if rank == 0:
                _write_annotations(source, shard, digests)
            return _run(worker, tasks[rank::world], len(cells), pool, shard)


def _plan(
    source: Source, out: str | Path, cells: Sequence[Cell], digests: dict[str, str]
) -> Iterator[Task]:
    there = {cell: tree.list_files(out, tree.cell_folder(*cell)) for cell in cells}
    for image in source.images:
        paths = {cell: f'{tree.cell_folder(*cell)}/{image.target}' for cell in cells}
        todo = [c for c in cells if image.target not in there[c] or paths[c] not in digests]
        recorded = {paths[c]: digests[paths[c]] for c in todo if paths[c] in digests}
        yield Task(image, tuple(todo), recorded)


def _check_disk_space(worker: CellWorker, tasks: Sequence[Task], pool: Executor) -> None:
    """Estimate from samples what all missing image-cells, of all ranks, will take, and log it."""
    remaining = Counter(corruption for task in tasks for corruption, _ in task.cells)
    samples = _choose_samples(tasks)
    futures = [pool.submit(worker.size, image, cell) for image, cell in samples]
    found = defaultdict(list)
    for (_, (corruption, _)), future in zip(samples, futures, strict=True):
        if (size := future.result()) is not None:
            found[corruption].append(size)
    if not found:
        return
    means = {corruption: mean(sizes) for corruption, sizes in found.items()}
    overall = mean(means.values())
    needed = _MARGIN * sum(count * means.get(name, overall) for name, count in remaining.items())
    root = Path(worker.root).absolute()
    free = shutil.disk_usage(next(f for f in (root, *root.parents) if f.exists())).free
    total = remaining.total()
    words = [tqdm.format_sizeof(size, 'B') for size in (needed, free)]
    _logger.info('%d image-cells remain to be made, about %s; %s are free', total, *words)
    if needed > free:
        raise UserError(
            f'the {total} image-cells that remain need about {words[0]}, but the disk of '
            f'{worker.root} has {words[1]} free: make room, choose fewer corruptions or take '
            '--format jpeg'
        )


def _choose_samples(tasks: Sequence[Task]) -> list[tuple[SourceImage, Cell]]:
    """Missing image-cells of all corruptions, severities in turn, from all over the images."""
    todo = [task for task in tasks if task.cells]
    corruptions = dict.fromkeys(name for task in todo for name, _ in task.cells)
    samples = []
    for number, corruption in enumerate(islice(cycle(corruptions), _SAMPLES)):
        task = todo[number * len(todo) // _SAMPLES]
        cells = [cell for cell in task.cells if cell[0] == corruption] or task.cells
        samples.append((task.image, cells[number % len(cells)]))
    return samples


@contextmanager
def _pool(workers: int) -> Iterator[Executor]:
    # Forked workers start at once and share their modules; spawned ones would each spend seconds
    # and memory on importing PyTorch and MMDetection. At this point there are no threads to break.
    context = multiprocessing.get_context('fork')
    stop = context.Event()
    pool = ProcessPoolExecutor(workers, context, start_worker, (stop,))
    try:
        yield pool
    except BrokenProcessPool:
        raise UserError(
            'a worker process was killed, probably because memory ran out: start the same command '
            'again with fewer --workers, it goes on from here'
        ) from None
    finally:
        stop.set()  # a worker in the middle of an image ends after the cell at hand
        pool.shutdown(cancel_futures=True)


def _write_annotations(source: Source, shard: Shard, digests: dict[str, str]) -> None:
    data = source.annotations()
    path = shard.root / tree.ANNOTATIONS
    if not path.exists():
        with replacing(path, shard.scratch) as new:
            new.write_bytes(data)
    if tree.ANNOTATIONS not in digests:
        shard.record({tree.ANNOTATIONS: sha256(data).hexdigest()})


def _run(
    worker: CellWorker, tasks: Sequence[Task], cells: int, pool: Executor, shard: Shard
) -> BuildReport:
    total = cells * len(tasks)
    report = BuildReport(total)
    # Before the bar, which starts a thread: see _pool.
    futures = {pool.submit(worker.work, task, shard.scratch): task for task in tasks if task.cells}
    done = total - sum(len(task.cells) for task in tasks)
    with progress_bar(total, 'cell', shard.rank, shard.world, done) as bar:
        for future in as_completed(futures):
            task, (digests, reasons) = futures.pop(future), future.result()
            shard.record({p: d for p, d in digests.items() if p not in task.recorded})
            bar.update(len(task.cells))
            if reasons:
                report.failures[task.image.file_name] = reasons
                report.cells -= len(task.cells) - len(digests)
    return report


def progress_bar(total: int, unit: str, rank: int = 0, world: int = 1, done: int = 0) -> tqdm:
    """A bar with the time left; in a log file, which cannot overwrite, one line a minute."""
    interval = 0.1 if sys.stderr.isatty() else 60
    # tqdm's own lock is shared with forked processes: one killed while it writes would keep it.
    tqdm.set_lock(threading.RLock())
    return tqdm(
        total=total, initial=done, unit=unit, smoothing=0.05, mininterval=interval,
        maxinterval=max(10, interval), desc=f'rank {rank} of {world}' if world > 1 else None,
    )
