"""How much disk space a build needs."""

import logging
import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import Executor
from itertools import cycle, islice
from pathlib import Path
from statistics import mean

from tqdm import tqdm

from projects.dat.runtime.errors import UserError

from .cell_worker import CellWorker, Task
from .tree import Cell, SourceImage

MARGIN = 1.1
_SAMPLES = 19  # at least one for each corruption, on different images
_logger = logging.getLogger(__name__)


def check_disk_space(worker: CellWorker, tasks: Sequence[Task], pool: Executor) -> None:
    """Estimate from samples what all missing image-cells will take, and log it.

    Args:
        worker: It makes the samples.
        tasks: What remains to be made in the whole tree, of all ranks.
        pool: Where the samples are made.

    Raises:
        UserError: It is more than the disk has.
    """
    remaining = Counter(corruption for task in tasks for corruption, _ in task.cells)
    samples = choose_samples(tasks)
    futures = [pool.submit(worker.size, image, cell) for image, cell in samples]
    found = defaultdict(list)
    for (_, (corruption, _)), future in zip(samples, futures, strict=True):
        if (size := future.result()) is not None:
            found[corruption].append(size)
    if not found:
        return
    means = {corruption: mean(sizes) for corruption, sizes in found.items()}
    overall = mean(means.values())
    needed = MARGIN * sum(count * means.get(name, overall) for name, count in remaining.items())
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


def choose_samples(tasks: Sequence[Task]) -> list[tuple[SourceImage, Cell]]:
    """Missing image-cells of all corruptions, severities in turn, from all over the images."""
    todo = [task for task in tasks if task.cells]
    corruptions = dict.fromkeys(name for task in todo for name, _ in task.cells)
    samples = []
    for number, corruption in enumerate(islice(cycle(corruptions), _SAMPLES)):
        task = todo[number * len(todo) // _SAMPLES]
        cells = [cell for cell in task.cells if cell[0] == corruption] or task.cells
        samples.append((task.image, cells[number % len(cells)]))
    return samples
