"""Results of several methods side by side, each measured on runs of one or several seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from projects.dat.corruptions.names import CORRUPTIONS
from projects.dat.runtime.errors import UserError

from . import summaries
from .results import CLEAN, Cell, Result, cell_name
from .summaries import Quantity


@dataclass(frozen=True)
class Spread:
    """A quantity over seeds: mean and standard deviation (of a sample; None of a single value)."""

    mean: float
    std: float | None

    @classmethod
    def of(cls, values: Sequence[float | None]) -> 'Spread | None':
        """None where a value is not known."""
        if None in values:
            return None
        mean = math.fsum(values) / len(values)
        if len(values) == 1:
            return cls(mean, None)
        return cls(mean, math.sqrt(math.fsum((x - mean) ** 2 for x in values) / (len(values) - 1)))

    @property
    def exceeds(self) -> bool:
        """Whether the mean is farther from zero than one standard deviation."""
        return self.std is not None and abs(self.mean) > self.std


@dataclass(frozen=True)
class Comparison:
    """Methods that were measured alike; differences are from the first, paired by seed.

    Args:
        methods: By name, the results of a method's seeds, in the same order for every method.
        costs: By method, the time of its training in that of plain training, where known. Defaults
            to none.

    Raises:
        UserError: The results were not measured alike, or cannot be paired.
    """

    methods: Mapping[str, Sequence[Result]]
    costs: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = {name: len(results) for name, results in self.methods.items()}
        if len(set(counts.values())) > 1:
            raise UserError(
                'expected as many results of each method, to be compared seed by seed, but got '
                f'{", ".join(f"{count} of {name}" for name, count in counts.items())}: give the '
                "same seeds' results of every method, in the same order"
            )
        for name, results in self.methods.items():
            if len({x.identity.checkpoint_sha256 for x in results}) < len(results):
                raise UserError(
                    f'two results of {name!r} are of the same checkpoint, which has no spread over '
                    'seeds: name different methods apart, or give other seeds'
                )
            for i, result in enumerate(results, 1):
                difference = _difference(self.example, result)
                if difference:
                    one, other = (
                        f'{x} (result {n})' if self.seeds > 1 else x
                        for x, n in ((self.first, 1), (name, i))
                    )
                    raise UserError(
                        f'{one} and {other} cannot be compared ({difference}): evaluate both alike'
                    )

    @property
    def first(self) -> str:
        """The name of the method that the others are compared with."""
        return next(iter(self.methods))

    @property
    def others(self) -> list[str]:
        return list(self.methods)[1:]

    @property
    def example(self) -> Result:
        """One result: all have the same cells."""
        return self.methods[self.first][0]

    @property
    def seeds(self) -> int:
        """How many runs each method has."""
        return len(self.methods[self.first])

    @property
    def cells(self) -> list[Cell]:
        """All but the clean images, in the benchmark's order."""
        return summaries.ordered(self.example.cells)

    @property
    def corruptions(self) -> list[str]:
        """Corruptions, in the benchmark's order, of which there are cells."""
        return list(dict.fromkeys(name for name, _ in self.cells if name in CORRUPTIONS))

    @property
    def severities(self) -> list[int]:
        """All severities of the corruptions."""
        return sorted({severity for name, severity in self.cells if name in CORRUPTIONS})

    @property
    def other_cells(self) -> list[Cell]:
        """Cells of neither clean images nor corruptions."""
        return [cell for cell in self.cells if cell[0] not in CORRUPTIONS]

    @property
    def unit(self) -> str:
        """What is shown: points of the metric."""
        return f'{self.example.identity.metric} x 100'

    def absolute(self, method: str, quantity: Quantity) -> Spread | None:
        """A method's quantity over its seeds; None where a result does not give it."""
        return Spread.of([quantity(result) for result in self.methods[method]])

    def difference(self, method: str, quantity: Quantity) -> Spread | None:
        """A method's difference from the first, taken for each seed by itself."""
        pairs = zip(self.methods[method], self.methods[self.first], strict=True)
        values = [(quantity(own), quantity(first)) for own, first in pairs]
        return Spread.of([None if None in pair else pair[0] - pair[1] for pair in values])


def _difference(first: Result, other: Result) -> str:
    """What was not measured alike, in a few words; '' if all was."""
    difference = first.identity.difference(other.identity, model=False)
    if difference:
        return difference
    for lacking, missing in (
        ('second', first.cells.keys() - other.cells), ('first', other.cells.keys() - first.cells)
    ):
        names = ['the clean images'] * (CLEAN in missing)
        names += map(cell_name, summaries.ordered(missing))
        if names:
            more = f' and {len(names) - 3} more cells' if len(names) > 3 else ''
            return f'the {lacking} lacks {", ".join(names[:3])}{more}'
    for cell, found in first.cells.items():
        count = other.cells[cell].num_images
        if count != found.num_images:
            return f'numbers of images of {cell_name(cell)} are {found.num_images} and {count}'
    return ''
