"""How far attacked images are from clean ones for Inception-v3: FID, and KID beside it.

DAT's article gives an FID of 14.65 for its images and 65.18 for pixel attacks, without saying on
which images, how many and at which strength. FID (Heusel et al., 2017, arXiv:1706.08500) estimates
a covariance of 2,048 features and is biased where there are fewer images; KID (Binkowski et al.,
2018, arXiv:1801.01401) is not.
"""

import logging

import numpy as np
import torch
from matplotlib.figure import Figure

from projects.dat.attacks.base import Attack
from projects.dat.runtime.errors import UserError

from ..results import Metrics, Result
from ..test_sets import weights_sha256
from .inception import FEATURES, load_inception
from .matched import find_attacks
from .study import Study, listing, number, style
from .subject import Batch, NoAttack, Observe, Subject

logger = logging.getLogger(__name__)

FID, KID = 'fid', 'kid'
SUBSETS = 50
"""Halves of the images of which KID's spread is taken."""


def analyze(subject: Subject, tokenizer: str, rate: float, inception: str | None) -> Result:
    """Measure both under every attack.

    Args:
        subject: Model and images.
        tokenizer: See ``find_attacks``.
        rate: See ``find_attacks``.
        inception: See ``load_inception``.

    Returns:
        By attack ``fid``, ``kid`` and ``kid_std``, its standard deviation over random halves.

    Raises:
        UserError: There is one image alone, or no Inception-v3.
    """
    if subject.num_images < 2:
        raise UserError('expected at least 2 images for FID and KID, found 1: give more')
    network = load_inception(inception).to(subject.device)
    if subject.num_images < FEATURES:
        logger.warning(_warning(subject.num_images))
    attacks, facts = find_attacks(subject, tokenizer, rate)
    facts['inception_sha256'] = weights_sha256(network)

    def features(attack: Attack, observe: Observe) -> tuple[np.ndarray, Metrics]:
        found = []

        def look(batch: Batch) -> None:
            # Padding is no part of an image.
            for image, mask in zip(batch.result.images, batch.mask, strict=True):
                rows, columns = mask[0].any(1), mask[0].any(0)
                found.append(network(image[None, :, rows][..., columns]))
            observe(batch)

        strength = subject.attack(attack, look)
        return torch.cat(found).double().cpu().numpy(), strength

    clean, _ = features(NoAttack(), lambda batch: None)

    def measure(attack: Attack, observe: Observe) -> Metrics:
        attacked, strength = features(attack, observe)
        generator = np.random.default_rng(subject.seed)
        count = max(2, len(clean) // 2)
        halves = [generator.choice(len(clean), count, replace=False) for _ in range(SUBSETS)]
        spread = np.std([kid(clean[half], attacked[half]) for half in halves])
        return {
            FID: fid(clean, attacked), KID: kid(clean, attacked), 'kid_std': float(spread),
            **strength,
        }

    study = Study('fid', subject, FID, facts)
    cells = {
        (name, 0): lambda observe, attack=attack: measure(attack, observe)
        for name, attack in attacks.items()
    }
    result = study.run(cells)
    study.write(result, dict(fid=_bars(result)), _text(result))
    return result


def fid(first: np.ndarray, second: np.ndarray) -> float:
    """Frechet distance of two sets of features (N, D), as normal distributions.

    The trace of the root of the product of both covariances is the sum of the singular values of
    the product of both centered sets, which is small where there are few images.
    """
    means = first.mean(0), second.mean(0)
    centered = [
        (x - mean) / np.sqrt(len(x) - 1) for x, mean in zip((first, second), means, strict=True)
    ]
    root = np.linalg.svd(centered[0] @ centered[1].T, compute_uv=False).sum()
    spread = sum(np.square(x).sum() for x in centered)
    return float(np.square(means[0] - means[1]).sum() + spread - 2 * root)


def kid(first: np.ndarray, second: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy of two sets of features (N, D).

    Its kernel is (x . y / D + 1)^3. It may be negative. Pairs of an image with itself under attack
    are left out, as the two sets are not independent.
    """
    n, dim = first.shape
    xx, yy, xy = (
        (a @ b.T / dim + 1) ** 3
        for a, b in ((first, first), (second, second), (first, second))
    )
    return float(sum(
        factor * (k.sum() - np.trace(k)) for factor, k in ((1, xx), (1, yy), (-2, xy))
    ) / (n * (n - 1)))


def _warning(count: int) -> str:
    return (
        f'FID of {count} images is biased: its covariance of {FEATURES} features needs more images '
        f'than that, published figures use 10,000 to 50,000; look at KID'
    )


def _bars(result: Result) -> Figure:
    figure = Figure((10, 4), layout='constrained')
    names = [name for name, _ in result.cells]
    color = style(2)['color']
    for axes, key in zip(figure.subplots(1, 2, sharey=True), (FID, KID), strict=True):
        values = [found.metrics[key] for found in result.cells.values()]
        errors = [found.metrics['kid_std'] for found in result.cells.values()]
        axes.barh(names, values, color=color, xerr=errors if key == KID else None)
        for y, value in enumerate(values):
            axes.annotate(number(value), (max(value, 0), y), (4, 8), fontsize=8,
                          textcoords='offset points')
        axes.set_xlabel('FID' if key == FID else 'KID, with its deviation over halves')
        axes.margins(x=0.15)
        axes.grid(alpha=0.3, axis='x')
    axes.invert_yaxis()
    return figure


def _text(result: Result) -> str:
    parts = [
        f'{name} {number(found.metrics[FID])} (KID {number(found.metrics[KID])} +- '
        f'{number(found.metrics["kid_std"], 1)}, loss '
        f'{number(found.metrics["attack/objective_after"])})'
        for (name, _), found in result.cells.items()
    ]
    count = next(iter(result.cells.values())).num_images
    text = f'FID between {count} clean images and the same under attack: {listing(parts)}.'
    return f'{text} {_warning(count)}.' if count < FEATURES else text
