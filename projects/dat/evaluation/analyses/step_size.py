"""Strength against quality: what an attack changes, what it gains and what it leaves.

DAT over its step size (Table 8 of arXiv:2209.07735 has alpha 0, 0.1, 0.2 and 0.4), random tokens
and token flips over the share of changed tokens, attacks on pixels over their radius.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from matplotlib.figure import Figure

from projects.dat.attacks import (
    DiscreteAttack,
    PixelAttack,
    TokenChangeController,
    TokenFlipAttack,
)
from projects.dat.attacks.base import Attack
from projects.dat.tokenizer import LPIPS, Tokenizer, load_tokenizer

from ..results import CLEAN, Cell, Metrics, Result
from ..test_sets import number_of, weights_sha256
from .quality import find_lpips, psnr
from .selective import SelectiveAttack
from .study import Study, listing, number, style
from .subject import Batch, NoAttack, Observe, Subject

NEIGHBORS = (1, 8, 32)
"""Of token flips; see :class:`TokenFlipAttack`."""

LPIPS_IMAGES = 8
"""LPIPS is the mean over the first images alone: it costs more than all else on a CPU."""

RECONSTRUCTION = 'reconstruction'

PUBLISHED_RATE = 0.038
"""DAT's share of changed tokens (table 8)."""

QUALITY = dict(
    psnr_q='PSNR to Q(x)', lpips_q='LPIPS to Q(x)', psnr='PSNR to x', lpips='LPIPS to x'
)


def analyze(
    subject: Subject, tokenizers: Sequence[str], alphas: Sequence[float], rates: Sequence[float],
    radii: Sequence[str], lpips: Sequence[str],
) -> Result:
    """Measure every attack at several strengths.

    Args:
        subject: Model and images.
        tokenizers: What ``load_tokenizer`` takes.
        alphas: Step sizes of DAT.
        rates: Shares of tokens that random tokens, token flips and selective steps change.
        radii: Linf radii of FGSM and PGD, such as '1/255'.
        lpips: See ``find_lpips``.

    Returns:
        By set (an attack, with its tokenizer where there are several) and strength: the evaluator's
        metrics, the attack's stats, of which ``attack/objective_after`` is the loss on the attacked
        images, and ``psnr``, ``lpips`` (to the image) and ``psnr_q``, ``lpips_q`` (to its
        reconstruction Q(x)).
    """
    measure = find_lpips(lpips)
    study = Study(
        'step_size', subject, subject.metric,
        dict(lpips_sha256=weights_sha256(measure)) if measure else {},
    )
    cells, facts = {CLEAN: partial(_measure, subject, NoAttack(), None)}, {}
    for source in tokenizers:
        tokenizer = load_tokenizer(source).to(subject.device)
        sha256 = weights_sha256(tokenizer.network)
        suffix = f', {source}' if len(tokenizers) > 1 else ''
        for (name, level), attack in token_attacks(tokenizer, alphas, rates).items():
            cells[name + suffix, level] = partial(_measure, subject, attack, measure)
            facts[name + suffix] = dict(tokenizer_sha256=sha256)
    for cell, attack in pixel_attacks(radii).items():
        cells[cell] = partial(_measure, subject, attack, measure)
    result = study.run(cells, facts)
    study.write(result, dict(step_size=_curves(result), quality=_quality(result)), _text(result))
    return result


def token_attacks(
    tokenizer: Tokenizer, alphas: Sequence[float], rates: Sequence[float]
) -> dict[Cell, Attack]:
    """The attacks on tokens by name and strength; first alpha 0, which is Q(x)."""
    attacks = {(RECONSTRUCTION, 0): DiscreteAttack(tokenizer, alpha=0.0, direction='random')}
    for alpha in alphas:
        attacks['dat', alpha] = DiscreteAttack(tokenizer, alpha=alpha)
    for rate in rates:
        attacks['random_tokens', rate] = DiscreteAttack(
            tokenizer, controller=TokenChangeController(rate), direction='random'
        )
        attacks['dat_selective', rate] = SelectiveAttack(tokenizer, rate)
        for k in NEIGHBORS:
            attacks[f'dat_flip k={k}', rate] = TokenFlipAttack(tokenizer, rate, k)
    return attacks


def pixel_attacks(radii: Sequence[str]) -> dict[Cell, Attack]:
    """FGSM, and PGD of 10 steps from a random start, by name and radius."""
    attacks = {}
    for text in radii:
        eps = number_of(text)
        attacks['fgsm', text] = PixelAttack('Linf', eps, eps, 1)
        attacks['pgd', text] = PixelAttack('Linf', eps, eps / 4, 10, random_start=1.0)
    return attacks


def _measure(
    subject: Subject, attack: Attack, lpips: LPIPS | None, observe: Observe
) -> Metrics:
    values = {}

    def look(batch: Batch) -> None:
        others = {'': batch.images}
        if batch.result.reconstruction is not None:
            others['_q'] = batch.result.reconstruction
        for suffix, other in others.items():
            values.setdefault(f'psnr{suffix}', []).append(
                psnr(batch.result.images, other, batch.mask)
            )
            few = slice(0, max(0, LPIPS_IMAGES - batch.first))
            if lpips is not None and len(other[few]):
                distance = lpips(batch.result.images[few], other[few])
                values.setdefault(f'lpips{suffix}', []).append(distance)
        observe(batch)

    metrics = subject.measure(attack, look)
    return metrics | {name: float(torch.cat(found).mean()) for name, found in values.items()}


def _series(result: Result) -> dict[str, list[Metrics]]:
    """The metrics of every attack in the order of its strength."""
    series = {}
    for (name, _), found in result.cells.items():
        if name != CLEAN[0] and not name.startswith(RECONSTRUCTION):
            series.setdefault(name, []).append(found.metrics)
    return series


def _points(result: Result) -> dict[str, Metrics]:
    """Clean images and their reconstructions."""
    return {
        name: found.metrics for (name, _), found in result.cells.items()
        if name == CLEAN[0] or name.startswith(RECONSTRUCTION)
    }


def _own(metrics: Metrics, key: str) -> float | None:
    """A figure of quality against what the attack starts from: Q(x) for tokens, x for pixels."""
    return metrics.get(f'{key}_q', metrics.get(key))


def _draw(
    axes, result: Result, x: Callable[[Metrics], float | None],
    y: Callable[[Metrics], float | None],
) -> None:
    """A line for each attack that has both figures, a mark for what has no strength."""
    lines = [(name, line, style(i)) for i, (name, line) in enumerate(_series(result).items())]
    for i, (name, metrics) in enumerate(_points(result).items()):
        mark = dict(linestyle='none', color='0.3', marker='+x*'[i % 3], markersize=10)
        lines.append((name, [metrics], mark | dict(markeredgewidth=2)))
    for name, line, look in lines:
        pairs = [(x(m), y(m)) for m in line if x(m) is not None and y(m) is not None]
        if pairs:
            axes.plot(*zip(*pairs, strict=True), label=name, **look)
    axes.grid(alpha=0.3)


def _curves(result: Result) -> Figure:
    """The objective over the code change, and over LPIPS or else PSNR."""
    figure = Figure((11, 4.8), layout='constrained')
    left, right = figure.subplots(1, 2)
    _draw(left, result, lambda m: _percent(m.get('attack/token_change')), _objective)
    left.set(xlabel='changed tokens (%)', ylabel='objective on the attacked images')
    for name, metrics in _points(result).items():
        left.axhline(_objective(metrics), color='0.5', linestyle=':', linewidth=1)
        left.annotate(
            name, (1, _objective(metrics)), (-3, -3), fontsize=8, ha='right', va='top',
            xycoords=('axes fraction', 'data'), textcoords='offset points',
        )
    if any('lpips' in metrics for line in _series(result).values() for metrics in line):
        _draw(right, result, lambda m: _own(m, 'lpips') or None, _objective)
        right.set(xlabel='LPIPS to Q(x) of attacks on tokens, to x of attacks on pixels')
        right.set_xscale('log')
    else:
        _draw(right, result, lambda m: _own(m, 'psnr'), _objective)
        right.set(xlabel='PSNR (dB) to Q(x) of attacks on tokens, to x of attacks on pixels')
        right.invert_xaxis()
    right.set(yscale='log', ylabel='objective on the attacked images')
    _legend(figure, left, right)
    return figure


def _quality(result: Result) -> Figure:
    """The model's metric over the objective, and over PSNR."""
    metric = result.identity.metric
    figure = Figure((11, 4.8), layout='constrained')
    left, right = figure.subplots(1, 2, sharey=True)
    _draw(left, result, _objective, lambda m: _percent(m[metric]))
    left.set(xlabel='objective on the attacked images', ylabel=f'{metric} x 100', xscale='log')
    _draw(right, result, lambda m: m['psnr'], lambda m: _percent(m[metric]))
    right.set(xlabel='PSNR (dB) to the image')
    right.invert_xaxis()
    _legend(figure, left, right)
    return figure


def _objective(metrics: Metrics) -> float:
    return metrics['attack/objective_after']


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _legend(figure: Figure, *panels) -> None:
    """Below all panels, each line once."""
    found = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    figure.legend(found.values(), found.keys(), loc='outside lower center', ncols=5)


def _text(result: Result) -> str:
    """The figures near the published rate, and the weakest pixel attacks."""
    metric = result.identity.metric
    clean = result.cells[CLEAN]
    sentences = [
        f'On {clean.num_images} clean images the loss is {_loss(clean.metrics)} and {metric} '
        f'{number(100 * clean.metrics[metric])} %.'
    ]
    for name, found in _points(result).items():
        if name != CLEAN[0]:
            sentences.append(f'The {name} alone raises the loss to {_loss(found)}.')
    tokens, pixels = [], []
    for name, line in _series(result).items():
        if 'attack/token_change' in line[0]:
            found = min(line, key=lambda m: abs(m['attack/token_change'] - PUBLISHED_RATE))
            size = f'{number(100 * found["attack/token_change"])} %'
        else:
            found = line[0]
            size = f'an L2 length of {number(found["attack/step_norm"], 2)}'
        quality = ', '.join(
            f'{label} {number(found[key])}' for key, label in QUALITY.items() if key in found
        )
        text = f'{name} {_loss(found)} with {size} ({metric} {number(100 * found[metric])} %'
        (tokens if size.endswith('%') else pixels).append(f'{text}, {quality})')
    sentences.append(f'Near {100 * PUBLISHED_RATE} % changed tokens it is for {listing(tokens)}.')
    sentences.append(f'The weakest attacks on pixels: {listing(pixels)}.')
    return ' '.join(sentences)


def _loss(metrics: Metrics) -> str:
    return number(_objective(metrics))
