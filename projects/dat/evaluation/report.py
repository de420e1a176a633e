"""One result as a table for the terminal."""

from collections.abc import Iterable

from projects.dat.corruptions import BENCHMARK, GROUPS, HOLDOUT, SEVERITIES

from .results import RobustnessResult

WIDTH = 20


def format_result(result: RobustnessResult) -> str:
    """A result's table, in per cent: corruptions by severities, groups, P, mPC and rPC.

    A mean stands only where all of its cells are there. Of an incomplete result the mean over its
    cells is given as what it is, and no mPC.
    """
    summary = result.summary()
    lines = [f'{result.metric} in %, {result.num_images} images', '']
    lines.append(_line('severity', [*map(str, SEVERITIES), 'mean']))
    for group, names in GROUPS.items():
        rows = _rows(result, names)
        if rows:
            mean = _percent(summary.groups[group])
            lines += [_line(group, [*[''] * len(SEVERITIES), mean]), *rows]
    rows = _rows(result, HOLDOUT)
    if rows:
        lines += [_line('hold-out, not in mPC', []), *rows]
    lines += ['', f'P    {_percent(summary.P):>6}  (clean images)']
    if summary.complete:
        ratio = 'undefined, P is 0' if summary.rPC is None else f'{_percent(summary.rPC):>6} %'
        lines += [f'mPC  {_percent(summary.mPC):>6}', f'rPC  {ratio}']
    elif summary.partial:
        mean, cells = summary.partial['mean'], summary.partial['cells']
        total = len(BENCHMARK) * len(SEVERITIES)
        lines.append(
            f'PARTIAL: mean {_percent(mean)} over {cells} of {total} benchmark cells; mPC and rPC '
            f'need all {total}'
        )
    return '\n'.join(lines)


def _rows(result: RobustnessResult, names: Iterable[str]) -> list[str]:
    rows = []
    for name in names:
        values = [result.value(name, severity) for severity in SEVERITIES]
        if any(value is not None for value in values):
            mean = None if None in values else sum(values) / len(values)
            rows.append(_line(f'  {name}', [_percent(value) for value in (*values, mean)]))
    return rows


def _line(name: str, cells: Iterable[str]) -> str:
    return f'{name:<{WIDTH}}' + ''.join(f'{cell:>7}' for cell in cells)


def _percent(value: float | None) -> str:
    return '-' if value is None else f'{100 * value:.1f}'
