"""Summaries of results: functions of a :class:`~projects.dat.evaluation.results.Result`."""

import math
from collections.abc import Callable, Iterable
from itertools import product

from projects.dat.corruptions.names import BENCHMARK, CORRUPTIONS, GROUPS, HOLDOUT, SEVERITIES

from .results import CLEAN, Cell, Result, sort_key

Quantity = Callable[[Result], float | None]
"""A number that a result gives, such as the metric on one cell; None where it does not."""

TOTAL = len(BENCHMARK) * len(SEVERITIES)


def mean_of(cells: Iterable[Cell]) -> Quantity:
    """Mean of the metric over cells; None where one of them is missing, or where there are none."""
    cells = list(cells)

    def quantity(result: Result) -> float | None:
        values = [result.value(cell) for cell in cells]
        return None if not values or None in values else math.fsum(values) / len(values)

    return quantity


def named(name: str) -> Quantity:
    """What :func:`coco_c` gives under a name."""
    return lambda result: coco_c(result)[name]


def coco_c(result: Result) -> dict[str, float | None]:
    """Clean, mPC, rPC and the groups, as Michaelis et al. (arXiv:1907.07484, section 3) name them.

    Returns:
        Fractions by name. 'clean' is their P. 'mPC', the mean over the 75 cells of the benchmark,
        and 'rPC', mPC / P, stand only where P and all these cells are known; otherwise the mean
        over those that are known is there under a name that says so. A group's mean is None where
        one of its cells is missing, and rPC where P is 0.
    """
    clean = result.value(CLEAN)
    known = [cell for cell in product(BENCHMARK, SEVERITIES) if cell in result.cells]
    found = {'clean': clean}
    if clean is not None and len(known) == TOTAL:
        found['mPC'] = mean_of(known)(result)
        found['rPC'] = found['mPC'] / clean if clean else None
    elif known:
        found[f'partial: mean of {len(known)} of {TOTAL} cells'] = mean_of(known)(result)
    return found | {
        group: mean_of(product(names, SEVERITIES))(result) for group, names in GROUPS.items()
    }


def mean_name(summary: Iterable[str]) -> str | None:
    """'mPC', or what :func:`coco_c` calls the mean of a partial result; None without either."""
    return next((name for name in summary if name == 'mPC' or name.startswith('partial')), None)


def ordered(cells: Iterable[Cell]) -> list[Cell]:
    """Cells without the clean images; the benchmark's in its order, then all others by name."""

    def key(cell: Cell) -> tuple:
        known = cell[0] in CORRUPTIONS
        return CORRUPTIONS.index(cell[0]) if known else len(CORRUPTIONS), *sort_key(cell)

    return sorted((cell for cell in cells if cell != CLEAN), key=key)


def group_of(name: str) -> str:
    """The group that a set belongs to: of the benchmark, 'hold-out', or it stands alone."""
    groups = {**GROUPS, 'hold-out': HOLDOUT}
    return next((group for group, names in groups.items() if name in names), name)


def row_name(name: str) -> str:
    """What a set is called in tables and plots: a hold-out corruption is marked."""
    return f'{name} (hold-out)' if name in HOLDOUT else name
