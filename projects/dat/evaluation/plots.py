"""A comparison as pictures that can be read without colors, too."""

import math
import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from projects.dat.corruptions.names import GROUPS, HOLDOUT, SEVERITIES

from .comparison import Cell, Comparison, minus, row_name
from .tables import signed

# Okabe and Ito's colors for all kinds of color vision (https://jfly.uni-koeln.de/color/), in an
# order in which neighbors also differ in lightness.
COLORS = ('#000000', '#E69F00', '#0072B2', '#CC79A7', '#009E73', '#56B4E9', '#D55E00')
MARKERS = ('o', 's', '^', 'D', 'v')
LINES = ('-', '--', '-.', ':')
_CHARACTER = 0.6 / 72  # inches per character and point of font size, a little more than the mean


def severity_curves(comparison: Comparison) -> Figure:
    """A panel per group: the mean over its corruptions by severity, 0 being the clean images.

    Where a group lacks cells, its title says how many it has.
    """
    groups = comparison.groups
    columns = min(len(groups), 3) if len(groups) != 4 else 2
    rows = math.ceil(len(groups) / columns)
    width = max(4.0 * columns, 6)
    figure = Figure((width, 3.2 * rows), layout='constrained')
    panels = _panels(figure, rows, columns, len(groups))
    clean = [0] if comparison.results[0].clean is not None else []
    for axes, (group, cells) in zip(panels, groups.items(), strict=True):
        severities = sorted({severity for _, severity in cells})
        ticks = clean + severities
        for run, result in enumerate(comparison.results):
            values = [result.value()] * len(clean)
            for severity in severities:
                here = [result.value(*cell) for cell in cells if cell[1] == severity]
                values.append(sum(here) / len(here))
            style = dict(_style(run), linestyle=LINES[run % len(LINES)], markersize=5)
            axes.plot(ticks, [100 * x for x in values], label=comparison.names[run], **style)
        axes.set_xticks(ticks, ['clean', *map(str, severities)] if clean else severities)
        axes.set_title(_group_title(group, cells), fontsize='medium')
        axes.set_xlabel('severity')
        axes.set_xlim(ticks[0] - 0.3, ticks[-1] + 0.3)
        axes.grid(alpha=0.3)
    panels[0].set_ylim(bottom=0)
    for axes in panels[::columns]:
        axes.set_ylabel(comparison.unit)
    _legend(figure, panels[0], width)
    return figure


def difference_heatmaps(comparison: Comparison) -> Figure:
    """A panel per further run: its difference from the first by corruption and severity."""
    first, *others = comparison.results
    corruptions, severities = comparison.corruptions, comparison.severities
    grids = [
        [[minus(x.value(c, s), first.value(c, s)) for s in severities] for c in corruptions]
        for x in others
    ]
    # At least a point: differences that small are mostly chance and shall stay pale.
    limit = max(0.01, *(abs(x) for grid in grids for row in grid for x in row if x is not None))
    columns = min(len(others), 4)
    rows = math.ceil(len(others) / columns)
    panel_width = max(0.55 * len(severities), 2.0)
    width = 1.6 + columns * panel_width + 1.0
    figure = Figure((width, rows * (0.28 * len(corruptions) + 0.9) + 0.6), layout='constrained')
    panels = _panels(figure, rows, columns, len(others))
    for axes, name, grid in zip(panels, comparison.names[1:], grids, strict=True):
        points = [[math.nan if x is None else 100 * x for x in row] for row in grid]
        image = axes.imshow(points, 'RdBu', Normalize(-100 * limit, 100 * limit), aspect='auto')
        axes.set_facecolor('0.85')
        for y, row in enumerate(grid):
            for x, value in enumerate(row):
                if value is not None:
                    dark = abs(value) > 0.65 * limit  # the ends of the color map
                    color = 'white' if dark else 'black'
                    text = signed(value).strip()
                    axes.text(x, y, text, ha='center', va='center', color=color, fontsize=8)
        for y in range(1, len(corruptions)):
            if _group(corruptions[y]) != _group(corruptions[y - 1]):
                axes.axhline(y - 0.5, color='black', linewidth=1)
        axes.set_xticks(range(len(severities)), severities)
        axes.set_yticks(range(len(corruptions)), map(row_name, corruptions))
        axes.set_title(_wrapped(name, panel_width, 10), fontsize='medium')
        axes.set_xlabel('severity')
    figure.colorbar(image, ax=panels, fraction=0.05, aspect=30)
    title = f'difference from {comparison.names[0]} ({comparison.unit})'
    figure.suptitle(_wrapped(title, width, 10), fontsize='medium')
    return figure


def clean_against_corrupted(comparison: Comparison) -> Figure | None:
    """A point per run: clean metric against mPC, or against the mean that a partial run has.

    None where the clean images or all cells of the benchmark are missing.
    """
    clean = [result.value() for result in comparison.results]
    means = [comparison.mean(run) for run in range(len(comparison.results))]
    if None in clean + means:
        return None
    clean, means = ([100 * x for x in values] for values in (clean, means))
    figure = Figure((6.5, 5), layout='constrained')
    axes = figure.subplots()
    for run, (name, x, y) in enumerate(zip(comparison.names, clean, means, strict=True)):
        label = f'{name} ({x:.1f}, {y:.1f})'
        axes.plot(x, y, linestyle='none', markersize=9, label=label, **_style(run))
    for low, high, setter in (
        (min(clean), max(clean), axes.set_xlim), (min(means), max(means), axes.set_ylim)
    ):
        margin = max(0.2 * (high - low), 0.5)
        setter(low - margin, high + margin)
    if clean[0] > 0:
        ratio = 'rPC' if comparison.mean_name == 'mPC' else 'ratio to clean'
        label = f'same {ratio} as {comparison.names[0]}'
        style = dict(color='0.5', linestyle=':', zorder=1)
        axes.axline((0, 0), slope=means[0] / clean[0], label=label, **style)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6))
    axes.set_xlabel(f'clean ({comparison.unit})')
    axes.set_ylabel(f'{comparison.mean_name} ({comparison.unit})')
    axes.grid(alpha=0.3)
    _legend(figure, axes, 6.5)
    return figure


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


def _group(corruption: str) -> str:
    return next((group for group, names in GROUPS.items() if corruption in names), 'hold-out')


def _group_title(group: str, cells: Sequence[Cell]) -> str:
    total = len(GROUPS.get(group, HOLDOUT)) * len(SEVERITIES)
    title = group if group in GROUPS else f'{group} (never in mPC)'
    if len(cells) == total:
        return title
    names = ', '.join(dict.fromkeys(corruption for corruption, _ in cells))
    return f'{title}, {len(cells)} of {total} cells:\n' + _wrapped(names, 3.6, 10)
