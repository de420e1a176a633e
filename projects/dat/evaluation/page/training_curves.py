"""Training curves, drawn for a page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..plots import COLORS, LINES
from .run_folders import Run, Series
from .svg import Svg, to_svg

# What training logs, in the order of the page; all else is folded.
CURVES = {
    'loss': 'Training loss',
    'attack/token_change': 'Share of tokens that the attack changes',
    'attack/objective_before': 'Loss before the attack',
    'attack/objective_after': 'Loss after the attack',
    'attack/rise': 'Rise of the loss by the attack',
    'attack/alpha': 'Step size of the attack',
    'attack/skipped': 'Batches that were not attacked',
}
NO_CURVES = ('epoch', 'iter', 'step')
POINTS = 500  # of a curve at the most


@dataclass
class Curve:
    """A quantity that was logged: what it is called on the page and in the log, and its plot."""

    title: str
    name: str
    plot: Svg


@dataclass
class Family:
    """Trainings whose curves are drawn together."""

    title: str
    legend: list[tuple[str, dict]]
    shown: list[Curve]
    folded: list[Curve]


def families_of(methods: Mapping[str, Sequence[Run]]) -> list[Family]:
    """Only trainings beside each other have axes in common."""
    by_place = {}
    for method, runs in methods.items():
        if any(any(run.scalars) for run in runs):
            by_place.setdefault(runs[0].place, {})[method] = runs
    families = []
    for place, found in by_place.items():
        title = next(iter(found)) if len(found) == 1 else place.name
        numbers = {method: i for i, method in enumerate(found)}
        legend = [(method, _line_style(i)) for method, i in numbers.items()]
        families.append(Family(title, legend, *_curves(found, numbers)))
    return families


def _curves(
    methods: Mapping[str, Sequence[Run]], numbers: Mapping[str, int]
) -> tuple[list[Curve], list[Curve]]:
    """Those to be shown, and those to be folded."""
    lines = {}  # by whether they are of validation, and by name
    for method, runs in methods.items():
        for run in runs:
            for validation, found in enumerate(run.scalars):
                for name, series in found.items():
                    of_name = lines.setdefault((validation, name), {})
                    of_name.setdefault(method, []).append(series)
    metric = next((name for validation, name in lines if validation), None)
    unit = 'iteration', next(iter(methods.values()))[0].validated_by
    shown, folded = [], []
    for validation, name in sorted(lines, key=_place):
        by_method = lines[validation, name]
        values = {y for runs in by_method.values() for series in runs for y in series.values()}
        if name in NO_CURVES or (name == 'attack/skipped' and values == {0}):
            continue
        title = f'Validation: {name}' if validation else CURVES.get(name, name)
        curve = Curve(title, name, _draw(title, by_method, numbers, unit[validation]))
        wanted = name == metric if validation else name in CURVES
        (shown if wanted else folded).append(curve)
    return shown, folded


def _place(key: tuple[int, str]) -> tuple:
    """The loss first, then validation, then the attack; all else by name."""
    validation, name = key
    known = list(CURVES)
    at = 0.5 if validation else known.index(name) if name in known else len(known)
    return at, name


def _draw(
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
                axes.plot(*_thinned(series), marker=point, **_line_style(numbers[method]))
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


def _line_style(number: int) -> dict:
    """Color and dashes of a method's curves."""
    return dict(
        color=COLORS[number % len(COLORS)], linestyle=LINES[number % len(LINES)], linewidth=1.6
    )
