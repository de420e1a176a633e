"""The folder of an analysis: what was measured, cell by cell, and what is made from it."""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from tqdm import tqdm

from projects.dat.runtime.files import replacing

from ..evaluate import identify
from ..plots import COLORS, LINES, MARKERS
from ..results import Cell, Metrics, Result, cell_name
from .subject import Batch, Observe, Subject

Measure = Callable[[Observe], Metrics]
"""Measures a cell, and calls what it is given with every batch."""


class Study:
    """Measures cells and writes ``WORK_DIR/analyses/NAME/``.

    ``result.json`` is written after every cell, so that the same command goes on after a crash.

    Args:
        name: The analysis's.
        subject: What it looks at.
        metric: Its main figure, which every cell has.
        facts: What all figures depend on besides model, images, targets and seed.
    """

    def __init__(
        self, name: str, subject: Subject, metric: str, facts: Mapping[str, str | int] = {}
    ) -> None:
        self.name = name
        self.subject = subject
        self.metric = metric
        self.facts = subject.facts() | facts
        self.folder = Path(subject.cfg.work_dir, 'analyses', name)

    def run(
        self, cells: Mapping[Cell, Measure], facts: Mapping[str, dict[str, str | int]] = {},
        passes: int | None = None,
    ) -> Result:
        """Measure the cells that are not there yet, under a bar with the time that is left.

        Args:
            cells: How each is measured.
            facts: By set, what its figures depend on besides those of all.
            passes: How many batches a cell looks at, for the bar; None for all images once.

        Returns:
            Only these cells, in this order.
        """
        data = {name: self.facts | facts.get(name, {}) for name, _ in cells}
        identity = identify(self.subject.cfg, data, self.metric)
        path = self.folder / 'result.json'
        result = Result.resume(path, identity)
        todo = [cell for cell in cells if cell not in result.cells]
        total = len(todo) * (passes or self.subject.batches)
        with tqdm(total=total, unit='batch', disable=None) as bar:
            for cell in todo:
                bar.set_description(f'{self.name}: {cell_name(cell)}')

                def observe(batch: Batch) -> None:
                    bar.update()

                result.add(cell, cells[cell](observe), self.subject.num_images)
                result.save(path)
        return Result(result.identity, {cell: result.cells[cell] for cell in cells})

    def write(self, result: Result, pictures: Mapping[str, Figure | np.ndarray], text: str) -> None:
        """Write ``table.csv``, the pictures and ``summary.md``.

        Args:
            result: Of :meth:`run`.
            pictures: By name, without ending: plots, or uint8 arrays (H, W, 3), RGB.
            text: What was found, in a few plain sentences with figures.
        """
        names = list(dict.fromkeys(k for found in result.cells.values() for k in found.metrics))
        path = self.folder / 'table.csv'
        with replacing(path) as temporary, open(temporary, 'w', newline='') as file:
            writer = csv.writer(file)
            writer.writerow(['set', 'level', 'num_images', *names])
            for cell, found in result.cells.items():
                values = [found.metrics.get(name) for name in names]
                writer.writerow([*cell, found.num_images, *values])
        for name, picture in pictures.items():
            with replacing(self.folder / f'{name}.png') as temporary:
                if isinstance(picture, Figure):
                    picture.savefig(temporary, dpi=120)
                else:
                    Image.fromarray(picture).save(temporary)
        with replacing(self.folder / 'summary.md') as temporary:
            temporary.write_text(' '.join(text.split()) + '\n')


def style(index: int) -> dict:
    """Of a line or point, told apart without colors, too."""
    return dict(
        color=COLORS[index % len(COLORS)], marker=MARKERS[index % len(MARKERS)],
        linestyle=LINES[index // len(MARKERS) % len(LINES)], markersize=5, linewidth=1.5, alpha=0.9,
    )


def file_name(attack: str) -> str:
    """An attack's name as a part of a file's."""
    return attack.replace('/', '_').replace(' ', '_')


def number(value: float | None, digits: int = 3) -> str:
    """A figure for a sentence."""
    return '-' if value is None or not math.isfinite(value) else f'{value:.{digits}g}'


def listing(words: Sequence[str]) -> str:
    """'a, b and c'."""
    return ' and '.join([', '.join(words[:-1]), words[-1]] if len(words) > 1 else words)
