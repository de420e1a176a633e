"""Plots as SVG for a page: texts stay texts, and nothing is drawn behind them."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib
from matplotlib.figure import Figure


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
