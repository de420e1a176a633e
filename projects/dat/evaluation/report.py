"""The report on results: tables for the terminal; Markdown, CSV and pictures as files."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

from projects.dat.corruptions.names import CORRUPTIONS
from projects.dat.runtime.files import replacing, writing

from . import plots, summaries
from .comparison import Comparison, Spread
from .results import CLEAN, cell_name
from .summaries import Quantity, mean_of
from .tables import Table, points, signed, to_markdown, to_terminal

PICTURES = {
    'severity_curves.png': plots.severity_curves,
    'differences.png': plots.difference_heatmaps,
    'clean_against_corrupted.png': plots.clean_against_corrupted,
    'time_against_corrupted.png': plots.time_against_corrupted,
}
TIME = 'training time'  # in that of plain training
_MARKED = {'rPC': 'rPC %', **{name: f'{name} ↓' for name in summaries.ERRORS}}  # in headers


def terminal_text(comparison: Comparison) -> str:
    """All tables, aligned."""
    shown = [*summary_tables(comparison), *metric_tables(comparison), *cell_tables(comparison)]
    return '\n'.join([*map(to_terminal, shown), *notes(comparison)])


def write_report(comparison: Comparison, out: str | Path) -> str:
    """Write comparison.md, comparison.csv, summary.csv and the pictures into a folder.

    Each file is written atomically and replaces that of an earlier report; a picture that this
    comparison has not is removed.

    Args:
        comparison: What to report on.
        out: The folder, made if missing.

    Returns:
        The tables for the terminal.

    Raises:
        UserError: A file cannot be written.
    """
    out = Path(out)
    links = []
    for name, draw in PICTURES.items():
        figure = draw(comparison)
        if figure is None:
            with writing(out / name):
                (out / name).unlink(missing_ok=True)
        else:
            picture = io.BytesIO()
            figure.savefig(picture, format='png', dpi=130)
            _write(out / name, picture.getvalue())
            links.append(f'![{name}]({name})\n')
    summary, metrics, cells = (
        map(to_markdown, tables(comparison))
        for tables in (summary_tables, metric_tables, cell_tables)
    )
    parts = ['# Robustness\n', *summary, *links, *metrics, *cells, *notes(comparison), '']
    markdown = '\n'.join(parts)
    _write(out / 'comparison.md', markdown.encode())
    _write(out / 'comparison.csv', cells_csv(comparison).encode())
    _write(out / 'summary.csv', summary_csv(comparison).encode())
    return terminal_text(comparison)


def summary_tables(comparison: Comparison) -> list[Table]:
    """Clean images, the mean over the cells, rPC or mCE, and the groups: of each method, and their
    differences.

    Metrics are in points (a hundred times the fraction), ratios in per cent, training times in that
    of plain training. What no result has is left out; other sets alone have no summary.
    """
    quantities = _summary(comparison)
    if not quantities:
        return []
    header = ['method', *(_MARKED.get(name, name) for name in quantities)]
    several = comparison.seeds > 1
    over = f'; mean ± standard deviation over {comparison.seeds} seeds' if several else ''
    arrow = '; ↓: lower is better' if any(name in summaries.ERRORS for name in quantities) else ''
    title, costs = f'Summary ({comparison.unit}{over}{arrow})', comparison.costs
    tables = [Table(title, [*header, TIME] if costs else header, [
        [name, *(_show(points, comparison.absolute(name, x)) for x in quantities.values())]
        + ([f'{costs[name]:.2f}' if name in costs else '-'] if costs else [])
        for name in comparison.methods
    ])]
    if comparison.others:
        paired = ', paired by seed' if several else ''
        title = f'Difference from {comparison.first}{paired}'
        tables.append(Table(title, header, [
            [name, *(_show_difference(comparison.difference(name, x)) for x in quantities.values())]
            for name in comparison.others
        ]))
    return tables


def metric_tables(comparison: Comparison) -> list[Table]:
    """What the evaluator measured besides, such as AP50 and AP of small objects: on clean images
    and, as a mean, on the corrupted ones. Without others there is no table.
    """
    example = comparison.example
    corrupted = [cell for cell in comparison.cells if cell[0] in CORRUPTIONS]
    images = {'clean': [CLEAN], f'mean of {len(corrupted)}': corrupted}
    images = {name: cells for name, cells in images.items() if example.cells.keys() & cells}
    names = dict.fromkeys(name for found in example.cells.values() for name in found.metrics)
    columns = {
        name: [
            _show(points, comparison.absolute(method, mean_of(cells, name)))
            for method in comparison.methods for cells in images.values()
        ]
        for name in names if name != example.identity.metric
    }
    columns = {name: texts for name, texts in columns.items() if set(texts) != {'-'}}
    heads = [[method, name] for method in comparison.methods for name in images]
    rows = [[*head, *row] for head, *row in zip(heads, *columns.values(), strict=True)]
    header = ['method', 'images', *(name.rpartition('/')[2] for name in columns)]
    return [Table('Other metrics (x 100)', header, rows)] if columns else []


def cell_tables(comparison: Comparison) -> list[Table]:
    """One table per method: corruptions by severities, with differences from the first method in
    brackets; then one of all other sets by methods.

    The last column of the former is the mean over the severities, for corruptions that have all of
    the table's. Over several seeds all are means.
    """
    severities = comparison.severities
    header = ['corruption', *map(str, severities), *(['mean'] if len(severities) > 1 else [])]
    tables = []
    for method in comparison.methods if severities else ():
        rows = []
        for name in comparison.corruptions:
            here = [(name, severity) for severity in severities]
            columns = [[cell] for cell in here] + ([here] if len(severities) > 1 else [])
            texts = [_with_difference(comparison, method, mean_of(column)) for column in columns]
            rows.append([summaries.row_name(name), *texts])
        since = f'; difference from {comparison.first}' if method != comparison.first else ''
        tables.append(Table(f'{method} ({comparison.unit}{since})', header, rows))
    if comparison.other_cells:
        since = f'; difference from {comparison.first}' if comparison.others else ''
        header = ['set', 'images', *comparison.methods]
        tables.append(Table(f'Other sets ({comparison.unit}{since})', header, [
            [
                cell_name(cell), str(comparison.example.cells[cell].num_images),
                *(_with_difference(comparison, x, mean_of([cell])) for x in comparison.methods),
            ]
            for cell in comparison.other_cells
        ]))
    return tables


def cells_csv(comparison: Comparison) -> str:
    """One row per result, set, level and metric, in full precision.

    Runs of a method are counted from 1; differences are from the first method's run of that number.
    Metrics are as the evaluator gives them: AP in 0..1, and -1 where COCO has no objects of that
    size. What is not known is empty.
    """
    rows = [['method', 'run', 'set', 'level', 'metric', 'value', 'difference']]
    firsts = comparison.methods[comparison.first]
    cells = [cell for cell in (CLEAN, *comparison.cells) if cell in comparison.example.cells]
    for method, results in comparison.methods.items():
        for run, (result, first) in enumerate(zip(results, firsts, strict=True), 1):
            for cell in cells:
                others = first.cells[cell].metrics
                for metric, value in result.cells[cell].metrics.items():
                    other = others.get(metric)
                    change = None if None in (value, other) else value - other
                    rows.append([method, run, *cell, metric, value, change])
    return _csv(rows)


def summary_csv(comparison: Comparison) -> str:
    """One row per method and quantity of the summary or other set, as fractions in full precision,
    and its training time in that of plain training, where known.

    Standard deviations are over seeds and empty with one; those of differences are of the paired
    ones.
    """
    columns = ['mean', 'std', 'difference', 'difference_std']
    rows = [['method', 'quantity', 'seeds', *columns]]
    others = {cell_name(cell): mean_of([cell]) for cell in comparison.other_cells}
    for method in comparison.methods:
        for name, quantity in (_summary(comparison) | others).items():
            spreads = comparison.absolute(method, quantity), comparison.difference(method, quantity)
            numbers = [x for s in spreads for x in ((s.mean, s.std) if s else (None, None))]
            rows.append([method, name, comparison.seeds, *numbers])
        if method in comparison.costs:
            rows.append([method, TIME, comparison.seeds, comparison.costs[method], *[None] * 3])
    return _csv(rows)


def _summary(comparison: Comparison) -> dict[str, Quantity]:
    """The quantities of the summary that a result knows, by name."""
    found = [summaries.summary(x) for results in comparison.methods.values() for x in results]
    known = [name for name in found[0] if any(x[name] is not None for x in found)]
    return {name: summaries.named(name) for name in known}


def notes(comparison: Comparison) -> list[str]:
    """What the tables' readers need to know besides."""
    found = comparison.example.cells
    # The table of other sets has their numbers.
    counts = sorted({found[cell].num_images for cell in found.keys() - comparison.other_cells})
    notes = []
    if counts:
        cells = 'All cells but other sets have' if comparison.other_cells else 'Every cell has'
        notes.append(f'{cells} {" or ".join(map(str, counts))} images.')
    summary = _summary(comparison)
    if comparison.others:
        ratio = '; of rPC they are percentage points' if 'rPC' in summary else ''
        notes.append(f'Differences are taken before rounding{ratio}.')
        if comparison.seeds > 1:
            notes.append(
                '* The mean difference is larger than its standard deviation over the seeds, which '
                'is no test of significance.'
            )
    if comparison.costs and summary:
        notes.append('Training times are in that of plain training, measured side by side.')
    if 'mCE' in summary:
        notes.append(
            "mCE divides errors by AlexNet's on ImageNet's 1,000 classes; of other classes it "
            'compares these methods alone.'
        )
    if any(name.startswith('partial') for name in summary):
        names = 'mPC and rPC need the clean images and'
        if comparison.example.identity.metric.startswith('accuracy/'):
            names = 'mCE needs'
        notes.append(f'{names} all {summaries.TOTAL} cells.')
    return notes


def _show(form: Callable[[float], str], spread: Spread | None) -> str:
    if spread is None:
        return '-'
    return form(spread.mean) + ('' if spread.std is None else f' ± {points(spread.std)}')


def _show_difference(spread: Spread | None) -> str:
    return _show(signed, spread) + '*' * (spread is not None and spread.exceeds)


def _with_difference(comparison: Comparison, method: str, quantity: Quantity) -> str:
    """Means without their spread, for which there is no room."""
    own = comparison.absolute(method, quantity)
    if own is None:
        return '-'
    if method == comparison.first:
        return points(own.mean)
    change = comparison.difference(method, quantity)
    return f'{points(own.mean)} ({signed(change.mean)}{"*" * change.exceeds})'


def _csv(rows: list[list]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows(rows)
    return text.getvalue()


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)
