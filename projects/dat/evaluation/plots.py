"""A comparison as pictures that can be read without colors, too."""

import math
import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from projects.dat.corruptions.names import GROUPS, HOLDOUT, SEVERITIES

from . import summaries
from .comparison import Comparison
from .results import CLEAN, Cell, sort_key
from .summaries import mean_of
from .tables import signed

# Okabe and Ito's colors for all kinds of color vision (https://jfly.uni-koeln.de/color/), in an
# order in which neighbors also differ in lightness.
COLORS = ('#000000', '#E69F00', '#0072B2', '#CC79A7', '#009E73', '#56B4E9', '#D55E00')
MARKERS = ('o', 's', '^', 'D', 'v')
LINES = ('-', '--', '-.', ':')
_CHARACTER = 0.6 / 72  # inches per character and point of font size, a little more than the mean


def severity_curves(comparison: Comparison) -> Figure | None:
    """A panel per group: the mean over its sets by level, the clean images first.

    Sets without levels share a panel. Over several seeds with error bars of one standard deviation.
    Where a group lacks cells, its title says how many it has. None without anything but clean
    images.
    """
    groups = {}
    for cell in comparison.cells:
        group, tick = _place(cell)
        groups.setdefault(group, {}).setdefault(tick, []).append(cell)
    if not groups:
        return None
    columns = min(len(groups), 3) if len(groups) != 4 else 2
    rows = math.ceil(len(groups) / columns)
    width = max(4.0 * columns, 6)
    figure = Figure((width, 3.2 * rows), layout='constrained')
    panels = _panels(figure, rows, columns, len(groups))
    for axes, (group, by_tick) in zip(panels, groups.items(), strict=True):
        labels = sorted(by_tick, key=lambda tick: sort_key(('', tick)))
        quantities = [mean_of(by_tick[label]) for label in labels]
        severities = set(labels) <= set(SEVERITIES)
        ticks = labels if severities else list(range(1, len(labels) + 1))
        if CLEAN in comparison.example.cells:
            labels, ticks = ['clean', *labels], [0, *ticks]
            quantities.insert(0, mean_of([CLEAN]))
        for run, method in enumerate(comparison.methods):
            spreads = [comparison.absolute(method, quantity) for quantity in quantities]
            at = [x + _dodge(comparison, run) for x in ticks]
            means = [100 * spread.mean for spread in spreads]
            # Sets and domains are no steps of one thing.
            line = 'none' if _is_words(labels) else LINES[run % len(LINES)]
            style = dict(_style(run), linestyle=line, markersize=5)
            axes.plot(at, means, label=method, **style)
            if comparison.seeds > 1:
                axes.errorbar(at, means, [100 * spread.std for spread in spreads], **_bars(run))
        turned = dict(rotation=20, ha='right') if _is_words(labels) else {}
        axes.set_xticks(ticks, labels, **turned)
        axes.set_title(_group_title(group, sum(by_tick.values(), [])), fontsize='medium')
        axes.set_xlabel('severity' if severities else '')
        axes.set_xlim(ticks[0] - 0.3, ticks[-1] + 0.3)
        axes.grid(alpha=0.3)
    panels[0].set_ylim(bottom=0)
    for axes in panels[::columns]:
        axes.set_ylabel(comparison.unit)
    _legend(figure, panels[0], width)
    return figure


def difference_heatmaps(comparison: Comparison) -> Figure | None:
    """A panel per further method: its difference from the first by corruption and severity.

    Over several seeds the mean of the paired differences, with a star where it is larger than their
    standard deviation. None without a further method or corrupted images.
    """
    others = comparison.others
    names, levels = comparison.corruptions, comparison.severities
    if not names or not others:
        return None
    grids = [
        [[comparison.difference(method, mean_of([(n, x)])) for x in levels] for n in names]
        for method in others
    ]
    known = [abs(x.mean) for grid in grids for row in grid for x in row if x is not None]
    # At least a point: differences that small are mostly chance and shall stay pale.
    limit = max(0.01, *known)
    columns = min(len(others), 4)
    rows = math.ceil(len(others) / columns)
    panel_width = max(0.55 * len(levels), 2.0)
    width = 1.6 + columns * panel_width + 1.0
    figure = Figure((width, rows * (0.28 * len(names) + 0.9) + 0.6), layout='constrained')
    panels = _panels(figure, rows, columns, len(others))
    for axes, method, grid in zip(panels, others, grids, strict=True):
        shown = [[math.nan if x is None else 100 * x.mean for x in row] for row in grid]
        image = axes.imshow(shown, 'RdBu', Normalize(-100 * limit, 100 * limit), aspect='auto')
        axes.set_facecolor('0.85')
        for y, row in enumerate(grid):
            for x, spread in enumerate(row):
                if spread is not None:
                    dark = abs(spread.mean) > 0.65 * limit  # the ends of the color map
                    color = 'white' if dark else 'black'
                    text = signed(spread.mean).strip() + '*' * spread.exceeds
                    axes.text(x, y, text, ha='center', va='center', color=color, fontsize=8)
        for y in range(1, len(names)):
            if summaries.group_of(names[y]) != summaries.group_of(names[y - 1]):
                axes.axhline(y - 0.5, color='black', linewidth=1)
        axes.set_xticks(range(len(levels)), levels)
        axes.set_yticks(range(len(names)), map(summaries.row_name, names))
        axes.set_title(_wrapped(method, panel_width, 10), fontsize='medium')
        axes.set_xlabel('severity')
    figure.colorbar(image, ax=panels, fraction=0.05, aspect=30)
    title = f'difference from {comparison.first} ({comparison.unit})'
    if comparison.seeds > 1:
        title += f', mean of {comparison.seeds} seeds; * larger than its standard deviation'
    figure.suptitle(_wrapped(title, width, 10), fontsize='medium')
    return figure


def clean_against_corrupted(comparison: Comparison) -> Figure | None:
    """A point per method: clean metric against the mean over corruptions, or over those there are.

    Over several seeds with error bars of one standard deviation. None where the clean images or all
    cells of the benchmark are missing.
    """
    corrupted = summaries.mean_name(summaries.summary(comparison.example))
    if CLEAN not in comparison.example.cells or corrupted is None:
        return None
    spreads = {
        method: [
            comparison.absolute(method, summaries.named(name)) for name in ('clean', corrupted)
        ]
        for method in comparison.methods
    }
    figure = Figure((6.5, 5), layout='constrained')
    axes = figure.subplots()
    for run, (method, pair) in enumerate(spreads.items()):
        x, y = (100 * spread.mean for spread in pair)
        label = f'{method} ({x:.1f}, {y:.1f})'
        axes.plot(x, y, linestyle='none', markersize=9, label=label, **_style(run))
        if comparison.seeds > 1:
            axes.errorbar(x, y, 100 * pair[1].std, 100 * pair[0].std, **_bars(run))
    for axis, setter in enumerate((axes.set_xlim, axes.set_ylim)):
        ends = [
            100 * (pair[axis].mean + sign * (pair[axis].std or 0))
            for pair in spreads.values() for sign in (-1, 1)
        ]
        margin = max(0.2 * (max(ends) - min(ends)), 0.5)
        setter(min(ends) - margin, max(ends) + margin)
    clean, mean = (spread.mean for spread in spreads[comparison.first])
    if clean > 0:
        ratio = 'rPC' if corrupted == 'mPC' else 'ratio to clean'
        label = f'same {ratio} as {comparison.first}'
        axes.axline((0, 0), slope=mean / clean, label=label, color='0.5', linestyle=':', zorder=1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6))
    axes.set_xlabel(f'clean ({comparison.unit})')
    axes.set_ylabel(f'{corrupted} ({comparison.unit})')
    axes.grid(alpha=0.3)
    _legend(figure, axes, 6.5)
    return figure


def time_against_corrupted(comparison: Comparison) -> Figure | None:
    """A point per method whose time is known: training time, in that of plain training, against the
    mean over corruptions, or over those there are. What lies above and left of all others is worth
    its time.

    Over several seeds with error bars of one standard deviation. None without times or corruptions.
    """
    corrupted = summaries.mean_name(summaries.summary(comparison.example))
    if not comparison.costs or corrupted is None:
        return None
    figure = Figure((6.5, 5), layout='constrained')
    axes = figure.subplots()
    for run, method in enumerate(comparison.methods):
        if method not in comparison.costs:
            continue
        x, spread = comparison.costs[method], comparison.absolute(
            method, summaries.named(corrupted)
        )
        label = f'{method} ({x:.2f}, {100 * spread.mean:.1f})'
        style = dict(_style(run), linestyle='none', markersize=9)
        axes.plot(x, 100 * spread.mean, label=label, **style)
        if comparison.seeds > 1:
            axes.errorbar(x, 100 * spread.mean, 100 * spread.std, **_bars(run))
    axes.set_xlim(left=0)
    axes.set_xlabel('training time, in that of plain training')
    axes.set_ylabel(f'{corrupted} ({comparison.unit})')
    axes.grid(alpha=0.3)
    _legend(figure, axes, 6.5)
    return figure


def _place(cell: Cell) -> tuple[str, int | float | str]:
    """The panel of a cell, and what is written below it."""
    name, level = cell
    return ('other sets', name) if level == 0 else (summaries.group_of(name), level)


def _is_words(labels: Sequence[int | float | str]) -> bool:
    return not all(isinstance(x, (int, float)) or x[0].isdigit() or x == 'clean' for x in labels)


def _panels(figure: Figure, rows: int, columns: int, count: int) -> list[Axes]:
    panels = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
    for axes in panels[count:]:
        axes.remove()
    return panels[:count]


def _legend(figure: Figure, axes: Axes, width: float) -> None:
    """Below all panels, so that it covers no data; the figure grows by its height."""
    handles = axes.get_lines()  # not by their labels: one that starts with "_" would be hidden
    labels = [_wrapped(line.get_label(), width - 1, 9) for line in handles]
    longest = max(len(line) for label in labels for line in label.splitlines())
    columns = max(1, int(width / (0.8 + longest * 9 * _CHARACTER)))
    lines = math.ceil(len(labels) / columns) * (1 + max(label.count('\n') for label in labels))
    figure.set_figheight(figure.get_figheight() + 0.2 * lines + 0.2)
    place = dict(loc='outside lower center', ncols=columns)
    figure.legend(handles, labels, fontsize=9, handlelength=3, **place)


def _wrapped(text: str, width: float, size: float) -> str:
    """Broken into lines of at most ``width`` inches at ``size`` points; dollars are no formulas."""
    lines = textwrap.fill(text, max(10, int(width / (size * _CHARACTER))))
    return lines.replace('$', r'\$')


def _style(run: int) -> dict:
    return dict(
        color=COLORS[run % len(COLORS)],
        marker=MARKERS[run % len(MARKERS)],
        markeredgecolor='black',
        markeredgewidth=0.5,
        alpha=0.85,
    )


def _bars(run: int) -> dict:
    return dict(fmt='none', ecolor=COLORS[run % len(COLORS)], elinewidth=1.2, zorder=1)


def _dodge(comparison: Comparison, run: int) -> float:
    """Beside each other, so that no error bar covers another."""
    return 0.06 * (run - len(comparison.others) / 2) if comparison.seeds > 1 else 0


def _group_title(group: str, cells: Sequence[Cell]) -> str:
    members = {**GROUPS, 'hold-out': HOLDOUT}.get(group)
    title = f'{group} (never in mPC)' if group == 'hold-out' else group
    if members is None or len(cells) == len(members) * len(SEVERITIES):
        return title
    names = ', '.join(dict.fromkeys(name for name, _ in cells))
    total = len(members) * len(SEVERITIES)
    return f'{title}, {len(cells)} of {total} cells:\n' + _wrapped(names, 3.6, 10)
