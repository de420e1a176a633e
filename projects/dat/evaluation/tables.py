"""A comparison as tables, for terminals, Markdown and CSV."""

import csv
import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from .comparison import Comparison, minus, row_name
from .results import Metrics


@dataclass(frozen=True)
class Table:
    """A table of texts; the first column is aligned to the left, the others to the right."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def summary_tables(comparison: Comparison) -> list[Table]:
    """P, the mean over the cells, rPC and the groups: of each run, and differences from the first.

    Metrics are in points (a hundred times what MMDetection gives), rPC in per cent. What no run has
    is left out.
    """
    names = comparison.names
    summaries = [comparison.summary(run) for run in range(len(names))]
    columns = [key for key in summaries[0] if any(x[key] is not None for x in summaries)]
    header = ['rPC %' if key == 'rPC' else key for key in columns]
    absolute = [
        [name, *(_points(summary[key]) for key in columns)]
        for name, summary in zip(names, summaries, strict=True)
    ]
    first = summaries[0]
    differences = [
        [name, *(signed(minus(summary[key], first[key])) for key in columns)]
        for name, summary in zip(names[1:], summaries[1:], strict=True)
    ]
    return [
        Table(f'Summary ({comparison.unit})', ['run', *header], absolute),
        Table(f'Difference from {names[0]}', ['run', *header], differences),
    ]


def cell_tables(comparison: Comparison) -> list[Table]:
    """One table per run: corruptions by severities, with differences from the first in brackets.

    The last column is the mean over the severities, for corruptions that have all of the table's.
    """
    severities = comparison.severities
    header = ['corruption', *map(str, severities), *(['mean'] if len(severities) > 1 else [])]
    tables = []
    for run, name in enumerate(comparison.names):
        rows = []
        for corruption in comparison.corruptions:
            own, first = (_values(comparison, x, corruption) for x in (run, 0))
            if run:
                texts = [_both(a, b) for a, b in zip(own, first, strict=True)]
            else:
                texts = list(map(_points, own))
            rows.append([row_name(corruption), *texts])
        since = f'; difference from {comparison.names[0]}' if run else ''
        tables.append(Table(f'{name} ({comparison.unit}{since})', header, rows))
    return tables


def to_terminal(table: Table) -> str:
    """Aligned columns, long names of runs broken into several lines."""
    lines = []
    for first, *others in [table.header, *table.rows]:
        name, *rest = textwrap.wrap(first, 48)
        lines += [[name, *others], *([part, *[''] * len(others)] for part in rest)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = [
        '  '.join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in lines
    ]
    return '\n'.join([table.title, texts[0], '-' * len(texts[0]), *texts[1:]]) + '\n'


def to_markdown(table: Table) -> str:
    """A heading and a table."""
    lines = [table.header, ['---', *['---:'] * (len(table.header) - 1)], *table.rows]
    rows = [' | '.join(text.replace('|', r'\|') for text in line) for line in lines]
    return '\n'.join([f'## {table.title}', '', *(f'| {row} |' for row in rows)]) + '\n'


def cells_csv(comparison: Comparison) -> str:
    """One row per run, corruption, severity and metric, in full precision.

    The clean images are corruption 'clean' at severity 0. Metrics are as MMDetection gives them, AP
    in 0..1, and -1 where COCO has no objects of that size; differences are from the first run. What
    is not known is empty.
    """
    rows = [['run', 'corruption', 'severity', 'metric', 'value', 'difference']]
    first = comparison.results[0]
    for name, result in zip(comparison.names, comparison.results, strict=True):
        if result.clean is not None:
            rows += [[name, 'clean', 0, *x] for x in _metrics(result.clean, first.clean)]
        for corruption, severity in comparison.cells:
            pair = (x.cells[corruption][severity] for x in (result, first))
            rows += [[name, corruption, severity, *x] for x in _metrics(*pair)]
    return _csv(rows)


def summary_csv(comparison: Comparison) -> str:
    """One row per run and quantity of the summary, as fractions in full precision."""
    rows = [['run', 'quantity', 'value', 'difference']]
    first = comparison.summary(0)
    for run, name in enumerate(comparison.names):
        rows += [[name, *x] for x in _metrics(comparison.summary(run), first)]
    return _csv(rows)


def _metrics(own: Metrics, first: Metrics) -> list[list]:
    """Name, value, difference."""
    return [[key, value, minus(value, first.get(key))] for key, value in own.items()]


def _csv(rows: list[list]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows(rows)
    return text.getvalue()


def _values(comparison: Comparison, run: int, corruption: str) -> list[float | None]:
    """By severity, and then their mean."""
    result = comparison.results[run]
    values = [result.value(corruption, severity) for severity in comparison.severities]
    if len(values) > 1:
        values.append(None if None in values else sum(values) / len(values))
    return values


def _points(value: float | None) -> str:
    return '-' if value is None else f'{100 * value:.1f}'


def signed(difference: float | None) -> str:
    """A difference of fractions in points; one that rounds to zero has no sign."""
    if difference is None:
        return '-'
    text = f'{100 * difference:+.1f}'
    return ' 0.0' if float(text) == 0 else text


def _both(value: float | None, first: float | None) -> str:
    return '-' if value is None else f'{_points(value)} ({signed(minus(value, first))})'
