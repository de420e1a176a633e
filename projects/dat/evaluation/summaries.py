"""Summaries of results: functions of a :class:`~projects.dat.evaluation.results.Result`."""

import math
from collections.abc import Callable, Iterable
from itertools import product

from projects.dat.corruptions.names import BENCHMARK, CORRUPTIONS, GROUPS, HOLDOUT, SEVERITIES

from .results import CLEAN, Cell, Result, sort_key

Quantity = Callable[[Result], float | None]
"""A number that a result gives, such as the metric on one cell; None where it does not."""

TOTAL = len(BENCHMARK) * len(SEVERITIES)
MEANS = ('mPC', 'mean corrupted')
"""What the mean over the benchmark is called, of detectors and of classifiers."""

ALEXNET = dict(
    gaussian_noise=0.886428, shot_noise=0.894468, impulse_noise=0.922640,
    defocus_blur=0.819880, glass_blur=0.826268, motion_blur=0.785948, zoom_blur=0.798360,
    snow=0.866816, frost=0.826572, fog=0.819324, brightness=0.564592,
    contrast=0.853204, elastic_transform=0.646056, pixelate=0.717840, jpeg_compression=0.606500,
)
"""AlexNet's error on each corruption of ImageNet-C, a mean over severities: what mCE divides by.

Measured by the authors (arXiv:1903.12261, https://github.com/hendrycks/robustness); these figures
are in https://github.com/alibaba/easyrobust, easyrobust/benchmarks/ood/imagenet_c.py.
"""
ALEXNET_CLEAN = 0.43478
"""AlexNet's error on clean images: torchvision's weights have an accuracy of 56.522 %
(https://pytorch.org/vision/stable/models.html). The paper has 43.5 %."""

DOMAINS = ('sketch', 'cartoon', 'painting', 'weather', 'handmake', 'tattoo')
"""Of COCO-O (arXiv:2307.12730)."""
TREND = 0.45
"""Slope of the mean AP over these domains against the AP on COCO, of published detectors
(https://github.com/alibaba/easyrobust, benchmarks/coco_o)."""

ERRORS = ('mCE', 'relative mCE')
"""Quantities of which less is better."""


def mean_of(cells: Iterable[Cell], metric: str | None = None) -> Quantity:
    """Mean of a metric over cells; None where one of them is missing, or where there are none.

    Args:
        cells: Sets at their levels.
        metric: None for that of the result's identity. COCO's -1, for lack of objects of a size, is
            missing.
    """
    cells = list(cells)

    def quantity(result: Result) -> float | None:
        values = [result.value(cell, metric) for cell in cells]
        known = values and None not in values and min(values) >= 0
        return math.fsum(values) / len(values) if known else None

    return quantity


def named(name: str) -> Quantity:
    """What :func:`summary` gives under a name."""
    return lambda result: summary(result)[name]


def summary(result: Result) -> dict[str, float | None]:
    """:func:`imagenet_c` of accuracies, :func:`coco_c` of all other metrics."""
    accuracy = result.identity.metric.startswith('accuracy/')
    return imagenet_c(result) if accuracy else coco_c(result)


def coco_c(result: Result) -> dict[str, float | None]:
    """Clean, mPC, rPC and the groups, as Michaelis et al. (arXiv:1907.07484, section 3) name them.

    Returns:
        Fractions by name. 'clean' is their P. 'mPC', the mean over the 75 cells of the benchmark,
        and 'rPC', mPC / P, stand only where P and all these cells are known; otherwise the mean
        over those that are known is there under a name that says so. A group's mean is over all
        severities of the result, None where one of its cells is missing; rPC is None where P is 0.
        'COCO-O' is the mean over its six domains, and 'effective robustness' by how much it exceeds
        0.45 times P.
    """
    found = _means(result, 'mPC', result.value(CLEAN) is not None)
    clean = found['clean']
    if 'mPC' in found:
        found['rPC'] = found['mPC'] / clean if clean else None
    found |= _groups(result)
    if (mean := mean_of(('coco_o', domain) for domain in DOMAINS)(result)) is not None:
        found['COCO-O'] = mean
        if result.identity.metric == 'coco/bbox_mAP':  # what the trend is of
            found['effective robustness'] = None if clean is None else mean - TREND * clean
    return found


def imagenet_c(result: Result) -> dict[str, float | None]:
    """Clean, 'mean corrupted', mCE, relative mCE and the groups (arXiv:1903.12261, section 4).

    Returns:
        Accuracies as fractions, and the two errors as fractions of AlexNet's, by name. 'mean
        corrupted', 'mCE' and 'relative mCE' stand only where all 75 cells of the benchmark are
        known; otherwise the mean over those that are known is there under a name that says so.
        'relative mCE' is None where the clean images are missing; groups are as in :func:`coco_c`.
    """
    found = _means(result, 'mean corrupted', True)
    # AlexNet's errors are of the first guess.
    if 'mean corrupted' in found and result.identity.metric == 'accuracy/top1':
        clean = found['clean']
        errors = {
            name: 1 - mean_of(product([name], SEVERITIES))(result) for name in BENCHMARK
        }
        found['mCE'] = _mean(errors[name] / ALEXNET[name] for name in BENCHMARK)
        found['relative mCE'] = None if clean is None else _mean(
            (errors[name] - (1 - clean)) / (ALEXNET[name] - ALEXNET_CLEAN) for name in BENCHMARK
        )
    return found | _groups(result)


def _means(result: Result, name: str, whole: bool) -> dict[str, float | None]:
    known = [cell for cell in product(BENCHMARK, SEVERITIES) if cell in result.cells]
    found = {'clean': result.value(CLEAN)}
    if whole and len(known) == TOTAL:
        found[name] = mean_of(known)(result)
    elif known:
        found[f'partial: mean of {len(known)} of {TOTAL} cells'] = mean_of(known)(result)
    return found


def _groups(result: Result) -> dict[str, float | None]:
    there = {level for name, level in result.cells if name in BENCHMARK}
    return {group: mean_of(product(names, there))(result) for group, names in GROUPS.items()}


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return math.fsum(values) / len(values)


def mean_name(summary: Iterable[str]) -> str | None:
    """What a summary calls the mean over corrupted cells; None without it."""
    return next((name for name in summary if name in MEANS or name.startswith('partial')), None)


def ordered(cells: Iterable[Cell]) -> list[Cell]:
    """Cells without the clean images; the benchmark's in its order, then all others by name."""

    def key(cell: Cell) -> tuple:
        known = cell[0] in CORRUPTIONS
        return CORRUPTIONS.index(cell[0]) if known else len(CORRUPTIONS), *sort_key(cell)

    return sorted((cell for cell in cells if cell != CLEAN), key=key)


def group_of(name: str) -> str:
    """The group that a set belongs to: of the benchmark, 'hold-out', or it stands alone."""
    groups = {**GROUPS, 'hold-out': HOLDOUT}
    return next((group for group, names in groups.items() if name in names), name)


def row_name(name: str) -> str:
    """What a set is called in tables and plots: a hold-out corruption is marked."""
    return f'{name} (hold-out)' if name in HOLDOUT else name
