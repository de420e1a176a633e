"""The result of an evaluation: a JSON file that every table and plot is made from.

One scheme holds every test set: a cell is a set at a level, such as ('fog', 3), ('coco_o',
'cartoon'), ('pgd', '4/255') or, of a set without levels, ('imagenet_a', 0). Means over cells are
not in it but computed from it (summaries.py).
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from projects.dat.runtime.errors import UserError
from projects.dat.runtime.files import replacing

SCHEMA = 2
Metrics = dict[str, float | None]
Cell = tuple[str, int | float | str]
"""A set and a level."""

CLEAN: Cell = ('clean', 0)
"""The images as they are."""


@dataclass(frozen=True)
class Identity:
    """What two evaluations have to have in common to be parts of one result.

    Args:
        config: Path of the config.
        config_sha256: Of that part of the config, with its options, that the figures depend on.
        checkpoint: Path of the checkpoint.
        checkpoint_sha256: Of its bytes.
        metric: Name of the metric that is summarized, such as 'coco/bbox_mAP'.
        packages: Versions of the packages that the figures of this config depend on.
        data: By test set, such as 'coco_c', what its figures depend on besides, by name: the hash
            of its annotations, a seed.
    """

    config: str
    config_sha256: str
    checkpoint: str
    checkpoint_sha256: str
    metric: str
    packages: dict[str, str]
    data: dict[str, dict[str, str | int]]

    def difference(self, other: 'Identity', model: bool) -> str:
        """What was not the same for another result, each with both values; '' if all was.

        Packages and test sets that only one of the two used make no difference.

        Args:
            other: Of another result.
            model: Whether config and checkpoint have to be the same, too.
        """
        facts = self._facts(model), other._facts(model)
        return ', '.join(
            f'{what} is {shown} and {facts[1][what][1]}'
            for what, (value, shown) in facts[0].items()
            if value != facts[1].get(what, (value,))[0]
        )

    def _facts(self, model: bool) -> dict[str, tuple[Any, Any]]:
        """What is compared and how it is shown, by what it is called."""
        facts = {'metric': (self.metric, self.metric)}
        if model:
            facts = {
                'config (model, test_dataloader, test_evaluator, test_cfg)':
                    (self.config_sha256, f'{self.config} [{self.config_sha256[:8]}]'),
                'checkpoint':
                    (self.checkpoint_sha256, f'{self.checkpoint} [{self.checkpoint_sha256[:8]}]'),
                **facts,
            }
        for name, values in self.data.items():
            for key, value in values.items():
                shown = value[:8] if key.endswith('_sha256') else value
                facts[f'{key} of {name}'] = value, shown
        return facts | {f'version of {name}': (v, v) for name, v in self.packages.items()}


@dataclass(frozen=True)
class Measurement:
    """What was measured on one cell.

    Args:
        num_images: How many images it has.
        metrics: By name, as the evaluator gives them (MMDetection's AP in 0..1); None stands for
            what is not a finite number.
    """

    num_images: int
    metrics: Metrics


@dataclass
class Result:
    """What was evaluated, how, and what was measured on every cell."""

    identity: Identity
    cells: dict[Cell, Measurement] = field(default_factory=dict)

    def value(self, cell: Cell, metric: str | None = None) -> float | None:
        """A metric on one cell, or the identity's; None if it is not there."""
        found = self.cells.get(cell)
        return None if found is None else found.metrics.get(metric or self.identity.metric)

    def add(self, cell: Cell, metrics: Mapping[str, float], num_images: int) -> None:
        """Put in what was measured on one cell.

        Raises:
            UserError: The identity's metric is not among the metrics, or not a finite number.
        """
        metrics = {name: float(x) if math.isfinite(x) else None for name, x in metrics.items()}
        if metrics.get(self.identity.metric) is None:
            raise UserError(
                f'expected the metric {self.identity.metric} as a number, but the evaluator gave '
                f'{", ".join(metrics) or "none"}: name one of these by --metric'
            )
        self.cells[cell] = Measurement(num_images, metrics)

    def save(self, path: str | Path) -> None:
        """Write the file atomically; the order of evaluation leaves no trace in it.

        Raises:
            UserError: It cannot be written.
        """
        cells = [
            dict(set=cell[0], level=cell[1], **dataclasses.asdict(self.cells[cell]))
            for cell in sorted(self.cells, key=sort_key)
        ]
        content = dict(schema=SCHEMA, identity=dataclasses.asdict(self.identity), cells=cells)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + '\n')

    @classmethod
    def load(cls, path: str | Path) -> 'Result':
        """Read a file that :meth:`save` wrote.

        Raises:
            UserError: It cannot be read, or is no such file.
        """
        try:
            content = json.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise UserError(f'{path} cannot be read as a result: {error}') from None
        found = content.get('schema') if isinstance(content, dict) else None
        if found != SCHEMA:
            raise UserError(
                f'{path} has schema {found}, but this version reads schema {SCHEMA}: evaluate again'
            )
        try:
            return _read(content)
        except ValueError as error:
            raise UserError(f'{path} is damaged ({error}): evaluate again') from None

    @classmethod
    def resume(cls, path: str | Path, identity: Identity) -> 'Result':
        """The result to add to: that in the file, or an empty one where there is no file.

        Raises:
            UserError: The file is of something else.
        """
        if not Path(path).exists():
            return cls(identity)
        result = cls.load(path)
        difference = result.identity.difference(identity, model=True)
        if difference:
            raise UserError(
                f'{path} holds results of something else than this run ({difference}): give '
                'another place with --out or --work-dir, or remove that file'
            )
        data = {**result.identity.data, **identity.data}
        return cls(dataclasses.replace(result.identity, data=data), result.cells)


def sort_key(cell: Cell) -> tuple:
    """Sorts cells by set, then level: numbers and fractions such as '4/255' by value, then words.
    """
    name, level = cell
    try:
        return name, False, Fraction(level), str(level)
    except (ValueError, ZeroDivisionError):
        return name, True, 0, level


def cell_name(cell: Cell) -> str:
    """What a cell is called: its set and level, or the set alone where that has no levels."""
    name, level = cell
    return name if level == 0 else f'{name} {level}'


def _read(content: dict) -> Result:
    """Raises ValueError, in a few words, for what :meth:`Result.save` does not write."""
    found = _typed(content.get('identity'), 'identity', dict)
    entries = {
        f.name: _typed(found.get(f.name), f.name, str if f.type is str else dict)
        for f in dataclasses.fields(Identity)
    }
    for name, values in {**entries['data'], 'packages': entries['packages']}.items():
        for key, value in _typed(values, name, dict).items():
            _typed(value, f'{key} of {name}', str, int)
    result = Result(Identity(**entries))
    for entry in _typed(content.get('cells'), 'cells', list):
        _typed(entry, 'a cell', dict)
        name = _typed(entry.get('set'), 'the set of a cell', str)
        level = _typed(entry.get('level'), f'the level of {name}', int, float, str)
        where = f'{name} at level {level}'
        count = _typed(entry.get('num_images'), f'the number of images of {where}', int)
        metrics = _typed(entry.get('metrics'), f'the metrics of {where}', dict)
        for key, value in metrics.items():
            _typed(value, f'{key} of {where}', int, float, type(None))
        if metrics.get(entries['metric']) is None:
            raise ValueError(f'{where} lacks {entries["metric"]}')
        if (name, level) in result.cells:
            raise ValueError(f'{where} is there twice')
        result.cells[name, level] = Measurement(count, metrics)
    return result


def _typed(value: Any, what: str, *kinds: type) -> Any:
    # isinstance would take True for a number; JSON's reader knows NaN.
    if type(value) not in kinds or isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f'{what} is {value!r}')
    return value
