"""Samples of a benchmark and what follows from them."""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from projects.dat.runtime.files import replacing

SCHEMA = 1

# One forward and one backward pass are 1 + 2 units. An attack adds a forward pass and a backward
# pass to the image (1 + 1), and training on twice the images 3 more.
BOUND = 8 / 3

PLAIN = 'plain step'
RECIPE = 'published recipe'
PARTS = ('tokenize', 'search', 'product', 'detokenize', 'reconstruct', 'attack')
BASE = 'plain step beside it'
STEP = 'step'


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of some values."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> 'Spread | None':
        """Of at least one value; None of none."""
        values = list(values)
        return cls(median(values), min(values), max(values)) if values else None


@dataclass
class Measurement:
    """One quantity of one case.

    Attributes:
        size: Side of the square images, in pixels.
        batch: Number of clean images.
        row: ``PLAIN``, ``RECIPE``, or a tokenizer with its precision.
        quantity: One of ``PARTS``; ``BASE``, a plain step just before this row's step; or ``STEP``.
        calls: How many calls in a row make a sample.
        seconds: Mean of a sample's calls, one sample a round.
        peak_bytes: Memory at its highest during a call, less what was held before it: weights and
            the optimizer's state do not count. None where it is not known.
        skipped: Why there are no samples, or None.
    """

    size: int
    batch: int
    row: str
    quantity: str
    calls: int = 1
    seconds: list[float] = field(default_factory=list)
    peak_bytes: int | None = None
    skipped: str | None = None


@dataclass
class BenchmarkResult:
    """All samples of a run.

    Args:
        command: The command line.
        detector: Path of the detector's config.
        device: 'cpu' or 'cuda'.
        seed: Of images, random weights and attacks.
        machine: Device, threads, versions.
        notes: What a reader has to know, such as tokenizers with random weights.
        measurements: In the order of the rounds.
        precision_changes: What a precision changes against fp32, a dict per row; empty without
            photographs.
    """

    command: Sequence[str]
    detector: str
    device: str
    seed: int
    machine: dict
    notes: list[str] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    precision_changes: list[dict] = field(default_factory=list)

    @property
    def groups(self) -> list[tuple[int, int]]:
        """Pairs of size and batch, in the order of the measurements."""
        return list(dict.fromkeys((m.size, m.batch) for m in self.measurements))

    @property
    def rows(self) -> list[str]:
        """All rows, in the order of the measurements."""
        return list(dict.fromkeys(m.row for m in self.measurements))

    @property
    def rounds(self) -> int:
        """How many rounds were measured."""
        return max((len(m.seconds) for m in self.measurements), default=0)

    def find(self, size: int, batch: int, row: str, quantity: str = STEP) -> Measurement | None:
        """A measurement, or None."""
        key = (size, batch, row, quantity)
        found = (m for m in self.measurements if (m.size, m.batch, m.row, m.quantity) == key)
        return next(found, None)

    def seconds(self, measurement: Measurement) -> Spread | None:
        """Seconds of a call."""
        return Spread.of(measurement.seconds)

    def ratio(self, measurement: Measurement) -> Spread | None:
        """Seconds of a call over those of the plain step beside it, of the same round.

        A round with large tokenizers takes minutes, so that each row has a plain step of its own:
        what slows the machine down for a while cancels.
        """
        m = measurement
        base = m if m.row == PLAIN else self.find(m.size, m.batch, m.row, BASE)
        # A case that ran out of memory later on has fewer rounds.
        pairs = zip(m.seconds, base.seconds, strict=False)
        return Spread.of(own / plain for own, plain in pairs)

    def save(self, path: str | Path) -> None:
        """Write everything as JSON, atomically."""
        content = dict(schema=SCHEMA, **dataclasses.asdict(self))
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + '\n')
