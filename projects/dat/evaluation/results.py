"""The result of one robustness evaluation: a JSON file that every table and plot is made from."""

import dataclasses
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from projects.dat.corruptions.names import (
    BENCHMARK,
    CHANNEL_ORDERS,
    CORRUPTIONS,
    GROUPS,
    SEVERITIES,
)
from projects.dat.runtime.errors import UserError
from projects.dat.runtime.files import replacing

SCHEMA = 1
Metrics = dict[str, float | None]


@dataclass(frozen=True)
class Summary:
    """Means over a result's cells, as Michaelis et al. (arXiv:1907.07484, section 3) name them.

    Attributes:
        complete: Whether the clean images and all 15 x 5 cells of the benchmark were evaluated.
        P: The metric on the clean images; None before they were evaluated.
        mPC: Mean over the benchmark's 75 cells; None unless complete.
        rPC: mPC / P, a fraction; None unless complete, and where P is 0.
        groups: Mean over each group's cells; None for a group that lacks one.
        partial: ``dict(mean=..., cells=n)`` over those benchmark cells that an incomplete result
            has; None where it has none, and for a complete result.
    """

    complete: bool
    P: float | None
    mPC: float | None
    rPC: float | None
    groups: dict[str, float | None]
    partial: dict[str, float] | None


@dataclass
class RobustnessResult:
    """What was evaluated, how, and the metrics of every cell (a corruption at a severity).

    Args:
        config: Path of the config.
        config_sha256: Of that part of the config, with its options, that the figures depend on.
        checkpoint: Path of the checkpoint.
        checkpoint_sha256: Of its bytes.
        annotations_sha256: Of the annotation file's bytes.
        num_images: How many images each cell has.
        seed: Seed of the corruptions.
        channel_order: 'bgr' or 'rgb', in which order the corruptions got the channels.
        image_format: None where images were corrupted on the fly, else the tree's: 'png' or
            'jpeg-<quality>'.
        metric: Name of the metric that is summarized, such as 'coco/bbox_mAP'.
        packages: Versions of the packages that the figures depend on.
        clean: All metrics on the clean images by name; None before they were evaluated.
        cells: All metrics by corruption, severity (1..5) and name. Values are as MMDetection gives
            them, AP in 0..1; None stands for one that is not a finite number.
    """

    config: str
    config_sha256: str
    checkpoint: str
    checkpoint_sha256: str
    annotations_sha256: str
    num_images: int
    seed: int
    channel_order: str
    image_format: str | None
    metric: str
    packages: dict[str, str]
    clean: Metrics | None = None
    cells: dict[str, dict[int, Metrics]] = field(default_factory=dict)

    def value(self, corruption: str | None = None, severity: int = 0) -> float | None:
        """The metric of one cell, severity 0 being the clean images; None if it is not there."""
        metrics = self.cells.get(corruption, {}).get(severity) if severity else self.clean
        return None if metrics is None else metrics[self.metric]

    def add(self, corruption: str | None, severity: int, metrics: Metrics) -> None:
        """Put in the metrics of one cell, severity 0 being the clean images.

        Raises:
            UserError: The result's metric is not among them, or not a finite number.
        """
        metrics = {name: _finite(value) for name, value in metrics.items()}
        if metrics.get(self.metric) is None:
            raise UserError(
                f'expected the metric {self.metric} as a number, but the evaluator gave '
                f'{", ".join(metrics) or "none"}: name one of these by --metric'
            )
        if severity == 0:
            self.clean = metrics
        else:
            self.cells.setdefault(corruption, {})[severity] = metrics

    def summary(self) -> Summary:
        """P, mPC, rPC and the groups' means of the cells that are there."""
        clean = self.value()
        values = self._values(BENCHMARK)
        known = [value for value in values if value is not None]
        complete = clean is not None and len(known) == len(values)
        mpc = _mean(values) if complete else None
        return Summary(
            complete=complete,
            P=clean,
            mPC=mpc,
            rPC=mpc / clean if complete and clean else None,
            groups={group: _mean(self._values(names)) for group, names in GROUPS.items()},
            partial=None if complete or not known else dict(mean=_mean(known), cells=len(known)),
        )

    def save(self, path: str | Path) -> None:
        """Write the file atomically, the cells in the benchmark's order."""
        content = {'schema': SCHEMA, **dataclasses.asdict(self)}
        content['cells'] = {
            name: {str(severity): metrics for severity, metrics in sorted(self.cells[name].items())}
            for name in CORRUPTIONS if name in self.cells
        }
        content['summary'] = dataclasses.asdict(self.summary())
        try:
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + '\n')
        except OSError as error:
            raise UserError(
                f'the result {path} cannot be written ({error.strerror}): name another file with '
                '--out'
            ) from None

    @classmethod
    def load(cls, path: str | Path) -> 'RobustnessResult':
        """Read a file that :meth:`save` wrote; the summary is computed afresh.

        Raises:
            UserError: It cannot be read, or is no such file.
        """
        try:
            content = json.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise UserError(
                f'{path} cannot be read as a result of tools/test_coco_c.py: {error}'
            ) from None
        found = content.get('schema') if isinstance(content, dict) else None
        if found != SCHEMA:
            raise UserError(
                f'{path} is no result of this version of tools/test_coco_c.py: expected schema '
                f'{SCHEMA}, but found {found}; evaluate again'
            )
        problem = _problem(content)
        if problem:
            raise UserError(f'{path} is damaged: {problem}; evaluate again')
        values = {f.name: content[f.name] for f in dataclasses.fields(cls)}
        values['cells'] = {
            name: {int(severity): metrics for severity, metrics in cells.items()}
            for name, cells in content['cells'].items()
        }
        return cls(**values)

    def _values(self, names: Iterable[str]) -> list[float | None]:
        return [self.value(name, severity) for name in names for severity in SEVERITIES]


def _mean(values: list[float | None]) -> float | None:
    return None if None in values else math.fsum(values) / len(values)


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None


_TYPES = dict(
    config=str, config_sha256=str, checkpoint=str, checkpoint_sha256=str, annotations_sha256=str,
    num_images=int, seed=int, channel_order=str, image_format=(str, type(None)), metric=str,
    packages=dict, clean=(dict, type(None)), cells=dict,
)


def _problem(content: dict) -> str | None:
    """What is wrong in a file's content, in a few words."""
    for name, kind in _TYPES.items():
        if name not in content:
            return f'{name} is missing'
        if not isinstance(content[name], kind) or isinstance(content[name], bool):
            return f'{name} is {content[name]!r}'
    if content['channel_order'] not in CHANNEL_ORDERS:
        return f'channel_order is {content["channel_order"]!r}'
    entries = [('clean', content['clean'])] if content['clean'] is not None else []
    for name, cells in content['cells'].items():
        if name not in CORRUPTIONS or not isinstance(cells, dict):
            return f'cells has {name!r}'
        for severity, metrics in cells.items():
            if severity not in map(str, SEVERITIES):
                return f'{name} has severity {severity!r}'
            entries.append((f'{name} at severity {severity}', metrics))
    for where, metrics in entries:
        values = metrics.values() if isinstance(metrics, dict) else [metrics]
        if not all(_is_number(value) or value is None for value in values):
            return f'the metrics of {where} are no numbers'
        if not isinstance(metrics, dict) or metrics.get(content['metric']) is None:
            return f'{where} lacks {content["metric"]}'
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
