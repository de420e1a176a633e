"""Robustness results of several runs side by side."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from projects.dat.corruptions.names import BENCHMARK, CORRUPTIONS, GROUPS, HOLDOUT, SEVERITIES
from projects.dat.runtime.errors import UserError

from .results import RobustnessResult

Cell = tuple[str, int]


@dataclass(frozen=True)
class Comparison:
    """Runs that were measured alike; differences are from the first.

    Args:
        results: One result per run.
        names: What the runs are called, in the same order.

    Raises:
        UserError: Fewer than two runs, names that do not tell them apart, or runs that were not
            measured alike.
    """

    results: Sequence[RobustnessResult]
    names: Sequence[str]

    def __post_init__(self) -> None:
        check_names(self.names, len(self.results))
        check_comparable(self.results, self.names)

    @property
    def cells(self) -> list[Cell]:
        """Corruption and severity of each cell, in the benchmark's order."""
        return _ordered(_cells(self.results[0]))

    @property
    def corruptions(self) -> list[str]:
        return list(dict.fromkeys(corruption for corruption, _ in self.cells))

    @property
    def severities(self) -> list[int]:
        return sorted({severity for _, severity in self.cells})

    @property
    def groups(self) -> dict[str, list[Cell]]:
        """Cells by group, without groups that have none; the hold-out corruptions are the last."""
        groups = {
            group: [cell for cell in self.cells if cell[0] in names]
            for group, names in {**GROUPS, 'hold-out': HOLDOUT}.items()
        }
        return {group: cells for group, cells in groups.items() if cells}

    @property
    def unit(self) -> str:
        """What is shown: points of the metric."""
        return f'{self.results[0].metric} x 100'

    @property
    def mean_name(self) -> str:
        """'mPC', or what the mean over the cells of partial runs has to be called."""
        partial = self.results[0].summary().partial
        if partial is None:
            return 'mPC'
        return f'partial: mean of {partial["cells"]} of {len(BENCHMARK) * len(SEVERITIES)} cells'

    def mean(self, run: int) -> float | None:
        """mPC of a run, or the mean over its benchmark cells; None where it has none of them."""
        summary = self.results[run].summary()
        return summary.partial['mean'] if summary.partial else summary.mPC

    def summary(self, run: int) -> dict[str, float | None]:
        """Fractions by name: clean, the mean under its name, rPC, the groups."""
        summary = self.results[run].summary()
        return {
            'clean': summary.P,
            self.mean_name: self.mean(run),
            'rPC': summary.rPC,
            **summary.groups,
        }


def row_name(corruption: str) -> str:
    """What a corruption is called in tables and plots: a hold-out one is marked."""
    return f'{corruption} (hold-out)' if corruption in HOLDOUT else corruption


def minus(value: float | None, first: float | None) -> float | None:
    """The difference, None where one of the two is not known."""
    return None if value is None or first is None else value - first


def check_names(names: Sequence[str], expected: int) -> None:
    """Raise UserError for fewer than two runs, or names that do not tell them apart."""
    if expected < 2:
        raise UserError(
            f'expected the results of two or more runs, but got {expected}: a comparison starts '
            'with the run that the others are compared with'
        )
    if len(names) != expected:
        raise UserError(
            f'expected {expected} names, one per result, but got {len(names)}: {", ".join(names)}'
        )
    for name in names:
        if not name.strip() or names.count(name) > 1:
            raise UserError(
                f'expected a name of its own for every run, but {name!r} is '
                f'{"given twice" if name.strip() else "empty"}: name them apart with --names'
            )


def check_comparable(results: Sequence[RobustnessResult], sources: Sequence[str]) -> None:
    """Raise UserError unless all runs were measured as the first was.

    Whether images were corrupted on the fly or read from a tree of png files makes no difference:
    the pixels are the same.

    Args:
        results: The runs.
        sources: What the message calls them: their files, or their names.
    """
    for result, source in zip(results, sources, strict=True):
        if not _cells(result):
            raise UserError(
                f'{source} has no corrupted images to compare: evaluate it with '
                'tools/test_coco_c.py'
            )
    for result, source in zip(results[1:], sources[1:], strict=True):
        difference = _difference(results[0], result)
        if difference:
            raise UserError(
                f'{sources[0]} and {source} cannot be compared: {difference}; evaluate both alike'
            )


def _difference(first: RobustnessResult, other: RobustnessResult) -> str | None:
    """What was not measured alike, in a few words."""
    pairs = {
        'annotations (SHA-256)': [r.annotations_sha256[:12] for r in (first, other)],
        'numbers of images': [r.num_images for r in (first, other)],
        'metrics': [r.metric for r in (first, other)],
        'channel orders': [r.channel_order for r in (first, other)],
        'seeds': [r.seed for r in (first, other)],
        'image formats': [_pixels(r) for r in (first, other)],
    }
    for what, (a, b) in pairs.items():
        if a != b:
            return f'their {what} are {a} and {b}'
    if (first.clean is None) != (other.clean is None):
        return f'the {"first" if first.clean is None else "second"} lacks the clean images'
    for lacking, cells in (
        ('second', _cells(first) - _cells(other)), ('first', _cells(other) - _cells(first))
    ):
        if cells:
            return f'the {lacking} lacks {_listed(cells)}'
    return None


def _cells(result: RobustnessResult) -> set[Cell]:
    return {(name, severity) for name, cells in result.cells.items() for severity in cells}


def _ordered(cells: Iterable[Cell]) -> list[Cell]:
    return sorted(cells, key=lambda cell: (CORRUPTIONS.index(cell[0]), cell[1]))


def _pixels(result: RobustnessResult) -> str:
    lossless = result.image_format in (None, 'png')
    return 'on the fly or png' if lossless else result.image_format


def _listed(cells: Iterable[Cell]) -> str:
    names = [f'{corruption} {severity}' for corruption, severity in _ordered(cells)]
    more = f' and {len(names) - 3} more cells' if len(names) > 3 else ''
    return ', '.join(names[:3]) + more

