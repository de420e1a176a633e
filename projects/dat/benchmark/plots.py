"""The cost of a step as pictures that can be read without colors, too."""

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from projects.dat.evaluation.plots import COLORS, LINES, MARKERS

from .results import BOUND, PLAIN, BenchmarkResult

_PANEL = 4.2  # inches


def cost_by_size(result: BenchmarkResult) -> Figure:
    """Cost of a step, in plain steps, over the side of the images; a panel per batch."""
    return _draw(result, 'image size (pixels)', 'batch {}', lambda group: group)


def cost_by_batch(result: BenchmarkResult) -> Figure:
    """Cost of a step, in plain steps, over the batch; a panel per image size."""
    return _draw(result, 'batch (clean images)', '{} px', lambda group: group[::-1])


def _draw(result: BenchmarkResult, label: str, title: str, split: Callable) -> Figure:
    """``split`` turns a group, (size, batch), into where a point lies and in which panel."""
    groups = {split(group): group for group in result.groups}
    places = sorted({place for place, _ in groups})
    panels = sorted({panel for _, panel in groups})
    figure = Figure((max(_PANEL * len(panels), 6), 4.6), layout='constrained')
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(all_axes, panels, strict=True):
        here = {place: groups[place, panel] for place in places}
        for i, row in enumerate(row for row in result.rows if row != PLAIN):
            _draw_row(axes, result, row, here, i)
        axes.axhline(BOUND, color='0.4', linestyle=':', label='bound, 8/3')
        axes.axhline(1, color='0.4', linewidth=1, label=PLAIN)
        axes.set_xscale('log', base=2)
        axes.set_yscale('log')
        axes.xaxis.set_major_locator(FixedLocator(places))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f'{x:g}'))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.margins(x=0.1)
        if len(places) == 1:
            axes.set_xlim(places[0] / 2, places[0] * 2)
        axes.set_title(title.format(panel), fontsize='medium')
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    _label_costs(all_axes[0])
    handles, labels = all_axes[0].get_legend_handles_labels()
    columns = 2 if figure.get_figwidth() < 8 else 3
    place = dict(loc='outside lower center', ncols=columns)
    figure.legend(handles, labels, fontsize=9, handlelength=3, **place)
    return figure


def _draw_row(axes: Axes, result: BenchmarkResult, row: str, groups: dict, index: int) -> None:
    """Medians with bars from the smallest to the largest; ``groups`` are by place."""
    ratios = {place: result.ratio(result.find(*group, row)) for place, group in groups.items()}
    ratios = {place: ratio for place, ratio in ratios.items() if ratio is not None}
    axes.errorbar(
        list(ratios),
        [ratio.median for ratio in ratios.values()],
        yerr=[
            [ratio.median - ratio.low for ratio in ratios.values()],
            [ratio.high - ratio.median for ratio in ratios.values()],
        ],
        label=row,
        color=COLORS[index % len(COLORS)],
        marker=MARKERS[index % len(MARKERS)],
        linestyle=LINES[index % len(LINES)],
        markeredgecolor='black',
        markeredgewidth=0.5,
        capsize=3,
        alpha=0.85,
    )


def _label_costs(axes: Axes) -> None:
    """Plain numbers at 1, 2, 5, 10, ...; no step costs less than a plain one."""
    high = axes.get_ylim()[1]
    ticks = [a * 10**b for b in range(6) for a in (1, 2, 5) if a * 10**b <= high]
    axes.set_ylim(0.8, high)
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f'{y:g}'))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel('cost of a training step (plain step = 1)')
