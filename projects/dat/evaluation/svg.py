"""Plots as SVG for a page: texts stay texts, and nothing is drawn behind them."""

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .plots import COLORS, LINES
from .run_folders import Series

POINTS = 500  # of a curve at the most


@dataclass(frozen=True)
class Svg:
    """A plot: what stands between <svg> and </svg>, its size in points, and words for it."""

    body: str
    width: float
    height: float
    alt: str


def to_svg(draw: Callable[[], Figure | None], alt: str) -> Svg | None:
    """The plot that a function draws; None if that draws none."""
    # Ids are hashed: of equal parts of two plots on a page they must not be equal.
    # Dollars in names are no formulas.
    style = {
        'svg.fonttype': 'none', 'svg.hashsalt': alt, 'legend.frameon': False,
        'text.parse_math': False,
    }
    with matplotlib.rc_context(style):
        figure = draw()
        if figure is None:
            return None
        stream = io.StringIO()
        figure.savefig(stream, format='svg', transparent=True)
    body = re.search(r'<svg[^>]*>(.*)</svg>', stream.getvalue(), re.DOTALL)[1]
    # Metadata, a style for every element of the page, and ids that several plots share.
    body = re.sub(r'<metadata>.*?</metadata>|<style.*?</style>', '', body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', '<g', body).replace(r'\$', '$')
    width, height = (round(72 * inches, 1) for inches in figure.get_size_inches())
    return Svg(body, width, height, alt)


def draw_curves(
    title: str, lines: Mapping[str, Sequence[Series]], numbers: Mapping[str, int], unit: str
) -> Svg:
    """One quantity over training.

    Args:
        title: What it is called.
        lines: Of each method, the curves of its seeds, none of them empty.
        numbers: A number for each method, which decides on its color and line.
        unit: What the steps are counted in.
    """

    def draw() -> Figure:
        figure = Figure((4.2, 2.6), layout='constrained')
        axes = figure.subplots()
        for method, runs in lines.items():
            for series in runs:
                point = 'o' if len(series) == 1 else ''
                axes.plot(*_thinned(series), marker=point, **line_style(numbers[method]))
        axes.set_xlabel(unit)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.spines[['top', 'right']].set_visible(False)
        axes.grid(alpha=0.3)
        return figure

    words = []
    for method, runs in lines.items():
        ends = [fmean(list(series.values())[at] for series in runs) for at in (0, -1)]
        words.append(f'{method} from {ends[0]:.3g} to {ends[1]:.3g}')
    steps = [step for runs in lines.values() for series in runs for step in series]
    span = f'{unit} {min(steps):g} to {max(steps):g}'
    return to_svg(draw, f'{title}, {span}: {"; ".join(words)}.')


def _thinned(series: Series) -> tuple[list[float], list[float]]:
    """Steps and values; of long series the means of some in a row."""
    count = math.ceil(len(series) / POINTS)
    return tuple(
        [fmean(values[i:i + count]) for i in range(0, len(values), count)]
        for values in (list(series), list(series.values()))
    )


def line_style(number: int) -> dict:
    """Color and dashes of a method's curves."""
    return dict(
        color=COLORS[number % len(COLORS)], linestyle=LINES[number % len(LINES)], linewidth=1.6
    )
