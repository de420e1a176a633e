"""How many distinct colors images have in small patches: noise in pixels makes more of them.

Source: figure 3, first row, of DAT (arXiv:2209.07735), which counts the colors of one patch of an
original (80 and 187), a discrete (111 and 184) and a pixel-space adversarial image (222 and 241).
The counts of its patches fit 16 x 16 pixels; the size is not published.
"""

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from projects.dat.attacks.base import Attack

from ..results import CLEAN, Metrics, Result
from .matched import find_attacks
from .study import Study, listing, number, style
from .subject import Batch, NoAttack, Observe, Subject

SIDE = 16  # px, of a patch
COLORS = 'colors'
QUANTILES = (5, 25, 50, 75, 95)


def analyze(subject: Subject, tokenizer: str, rate: float) -> Result:
    """Count the colors under every attack.

    Args:
        subject: Model and images.
        tokenizer: See ``find_attacks``.
        rate: See ``find_attacks``.

    Returns:
        For the clean images and by attack ``colors``, the mean over images of the mean over an
        image's patches of 16 x 16 pixels of the number of distinct 24-bit colors, ``colors/qN``,
        quantiles over the images, and ``colors/of_clean``, the mean ratio to the clean image's.
    """
    attacks, facts = find_attacks(subject, tokenizer, rate)
    attacks = {CLEAN[0]: NoAttack(), **attacks}
    study = Study('colors', subject, COLORS, facts)
    cells = {
        (name, 0): lambda observe, attack=attack: _measure(subject, attack, observe)
        for name, attack in attacks.items()
    }
    result = study.run(cells)
    study.write(result, dict(colors=_boxes(result)), _text(result))
    return result


def count_colors(images: Tensor, mask: Tensor) -> Tensor:
    """Mean number of distinct 24-bit colors in the whole patches of each image, (N,).

    Args:
        images: (N, 3, H, W), RGB, 0..1, at least 16 px a side.
        mask: BoolTensor (N, 1, H, W); patches with padding do not count.
    """
    red, green, blue = (images * 255).round().long().unbind(1)
    codes = ((red * 256 + green) * 256 + blue).unsqueeze(1)
    patches = codes.unfold(2, SIDE, SIDE).unfold(3, SIDE, SIDE).flatten(4)
    ordered = patches[:, 0].sort(dim=-1).values
    counts = 1 + (ordered.diff(dim=-1) != 0).sum(-1)
    whole = -F.max_pool2d(-mask.float(), SIDE)[:, 0]
    return (counts * whole).sum((1, 2)) / whole.sum((1, 2))


def _measure(subject: Subject, attack: Attack, observe: Observe) -> Metrics:
    counts, ratios = [], []

    def count(batch: Batch) -> None:
        found = count_colors(batch.result.images, batch.mask)
        counts.append(found)
        ratios.append(found / count_colors(batch.images, batch.mask))
        observe(batch)

    strength = subject.attack(attack, count)
    found = torch.cat(counts).cpu().numpy()
    quantiles = dict(zip(QUANTILES, np.percentile(found, QUANTILES), strict=True))
    return {
        COLORS: float(found.mean()), 'colors/of_clean': float(torch.cat(ratios).mean()),
        **{f'colors/q{q}': float(value) for q, value in quantiles.items()}, **strength,
    }


def _boxes(result: Result) -> Figure:
    """A box for each attack: quantiles over the images."""
    figure = Figure((8, 4), layout='constrained')
    axes = figure.subplots()
    names = ['whislo', 'q1', 'med', 'q3', 'whishi']
    stats = [
        dict(zip(names, (found.metrics[f'colors/q{q}'] for q in QUANTILES), strict=True),
             label=name, mean=found.metrics[COLORS])
        for (name, _), found in result.cells.items()
    ]
    axes.bxp(stats, showfliers=False, showmeans=True, vert=False, meanprops=style(0) | dict(
        linestyle='none', markerfacecolor='black'
    ), medianprops=dict(color=style(2)['color']))
    axes.invert_yaxis()
    axes.axvline(result.cells[CLEAN].metrics[COLORS], color='0.5', linestyle=':')
    axes.set_xlabel(
        f'distinct colors in a patch of {SIDE} x {SIDE} pixels; 5, 25, 50, 75, 95 % of the images, '
        'and mean', fontsize='small',
    )
    axes.set_xlim(0, SIDE**2)
    axes.grid(alpha=0.3, axis='x')
    return figure


def _text(result: Result) -> str:
    parts = [
        f'{name} {number(found.metrics[COLORS])} ({number(found.metrics["colors/of_clean"])} '
        'times)' for (name, _), found in result.cells.items()
    ]
    count = result.cells[CLEAN].num_images
    return (
        f'Mean number of distinct colors in a patch of {SIDE} x {SIDE} pixels over {count} images, '
        f'after rounding to 8 bits, and its ratio to the clean image: {listing(parts)}.'
    )
