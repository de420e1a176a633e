"""How much disk space a build needs."""

import logging
import shutil
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from itertools import cycle
from pathlib import Path

from projects.dat.runtime.errors import UserError

from .cell_worker import Cell, Recipe, Task, cell_size
from .source import SourceImage

MARGIN = 1.1
_SAMPLES = 19  # at least one for each corruption, on different images
_logger = logging.getLogger(__name__)


def check_disk_space(recipe: Recipe, tasks: Sequence[Task], pool: Executor) -> None:
    """Estimate from samples what all missing image-cells will take, and log it.

    Args:
        recipe: What all cells have in common.
        tasks: What remains to be made in the whole tree, of all ranks.
        pool: Where the samples are made.

    Raises:
        UserError: It is more than the disk has.
    """
    remaining = Counter(corruption for task in tasks for corruption, _ in task.missing)
    if not remaining:
        return
    sizes: dict[str, list[int]] = {}
    samples = choose_samples(tasks, remaining)
    for (_, cell), size in zip(
        samples, pool.map(partial(_sample_size, recipe), samples), strict=True
    ):
        if size is not None:
            sizes.setdefault(cell[0], []).append(size)
    if not sizes:
        return
    means = {corruption: sum(some) / len(some) for corruption, some in sizes.items()}
    overall = sum(means.values()) / len(means)
    needed = sum(count * means.get(name, overall) for name, count in remaining.items())
    free = shutil.disk_usage(_existing_parent(recipe.root)).free
    total = sum(remaining.values())
    _logger.info(
        '%d image-cells remain to be made, about %s; %s are free', total, in_words(needed),
        in_words(free),
    )
    if needed * MARGIN > free:
        raise UserError(
            f'the {total} image-cells that remain need about {in_words(needed * MARGIN)}, but the '
            f'disk of {recipe.root} has {in_words(free)} free: make room, choose fewer corruptions '
            f'or take --format jpeg'
        )


def choose_samples(
    tasks: Sequence[Task], remaining: Counter[str]
) -> list[tuple[SourceImage, Cell]]:
    """Missing image-cells of all corruptions, severities in turn, from all over the images."""
    todo = [task for task in tasks if task.missing]
    samples = []
    for number, corruption in zip(range(_SAMPLES), cycle(remaining), strict=False):
        task = todo[number * len(todo) // _SAMPLES]
        cells = [cell for cell in task.missing if cell[0] == corruption] or task.missing
        samples.append((task.image, cells[number % len(cells)]))
    return samples


def in_words(size: float) -> str:
    """A number of bytes as disks are sold: '1.5 GB'."""
    for unit in ('B', 'kB', 'MB', 'GB'):
        if size < 999.5:
            return f'{size:.3g} {unit}'
        size /= 1000
    return f'{size:.3g} TB'


def _sample_size(recipe: Recipe, sample: tuple[SourceImage, Cell]) -> int | None:
    return cell_size(recipe, *sample)


def _existing_parent(path: str | Path) -> Path:
    path = Path(path).absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())
