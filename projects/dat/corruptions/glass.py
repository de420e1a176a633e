"""Glass blur."""

import numpy as np

from .filters import gaussian
from .pixels import UNIT, to_bytes


def glass_blur(image: np.ndarray, severity: int, rng: np.random.RandomState) -> np.ndarray:
    """Moves pixels about as frosted glass does, with a Gaussian blur before and after.

    A pass goes from the bottom right pixel to the top left one and lets each take the color of a
    random neighbor. The two were meant to be swapped (Hendrycks and Dietterich, arXiv:1903.12261),
    but in imagecorruptions, and so in all published numbers, the neighbor keeps its color.

    Args:
        image: uint8 (H, W, 3).
        severity: 1..5.
        rng: Where the neighbors are drawn from.

    Returns:
        uint8 (H, W, 3).
    """
    sigma, reach, passes = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))[
        severity - 1
    ]
    colors = to_bytes(gaussian(UNIT[image], sigma)).reshape(-1, 3)
    for _ in range(passes):
        colors = colors.take(_sources(*image.shape[:2], reach, rng), axis=0)
    return to_bytes(gaussian(UNIT[colors].reshape(image.shape), sigma))


def _sources(height: int, width: int, reach: int, rng: np.random.RandomState) -> np.ndarray:
    """Where the color that each pixel has after a pass was before the pass; flat indices.

    One by one, a pixel takes the color of its neighbor. If the neighbor comes later in the image,
    it has had its turn and has got its color from elsewhere: the way goes on from there. Each step
    of the loop doubles the length of way that is known, so that a few steps are enough.
    """
    drawn = rng.randint(-reach, reach, size=(height - 2 * reach, width - 2 * reach, 2))
    places = np.arange(height * width)
    link = places.copy()
    turns = (slice(reach + 1, height - reach + 1), slice(reach + 1, width - reach + 1))
    link.reshape(height, width)[turns] += (drawn[..., 1] * width + drawn[..., 0])[::-1, ::-1]
    has_turn = np.zeros(height * width, bool)
    has_turn.reshape(height, width)[turns] = True

    onward = (link > places) & has_turn[link]
    ways = np.flatnonzero(onward)
    while len(ways):
        neighbors = link[ways]
        link[ways], onward[ways] = link[neighbors], onward[neighbors]
        ways = ways[onward[ways]]
    return link
