"""Filters that more than one corruption needs.

Their weights are stored, not computed, because their last bits decide over whole grey levels: what
is between two bytes is cut off, so that an even area keeps its level or loses one according to
whether the weights add up to a little more or less than 1. numpy's exp differs in these bits
between numpy 1 and 2, and in numpy 1 also between CPUs with and without AVX-512. Stored are those
of numpy 1.23.5 with AVX-512 (tests/fixtures/make_corruption_fixtures.py).
"""

import json
import math
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import ndimage

_BLOCK = 1 << 14
"""Values; what is added up for so many at a time stays in the processor's cache."""


def gaussian(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of a float array (H, W) or (H, W, C), its edges repeated outside.

    Args:
        image: Of any range.
        sigma: Pixels; one of those in ``kernels.json``.
    """
    weights = gaussian_weights(sigma)
    for axis in (0, 1):
        image = ndimage.correlate1d(image, weights, axis, mode='nearest')
    return image


def motion(image: np.ndarray, radius: int, sigma: float, angle: float) -> np.ndarray:
    """A blur that trails off in one direction, the image's edges repeated outside.

    The trail ends where it would reach over the whole image; an image of less than 2 ``radius``
    pixels a side gets darker by that.

    Args:
        image: (H, W, C) of any type and range.
        radius: Half the length of the trail in pixels; with ``sigma`` one in ``kernels.json``.
        sigma: Standard deviation of the weights along the trail, in pixels.
        angle: Degrees; pixels take from those at their right at 0, from those below them at 90.

    Returns:
        float64 (H, W, C).
    """
    height, width, channels = image.shape
    weights = motion_weights(radius, sigma)
    length = len(weights)
    rise, run = (length * f(np.deg2rad(angle)) for f in (np.sin, np.cos))
    hypotenuse = math.hypot(rise, run)
    taps = []
    for step, weight in enumerate(weights):
        down = math.ceil(step * rise / hypotenuse - 0.5)
        right = math.ceil(step * run / hypotenuse - 0.5)
        if abs(down) >= height or abs(right) >= width:
            break
        taps.append((weight, length + down, (length + right) * channels))

    padded = np.pad(image, ((length, length), (length, length), (0, 0)), mode='edge')
    row = padded.shape[1] * channels
    # In flat form a tap is the padded image from another place on; the blurred rows are as long as
    # the padded ones, and what is too much at their ends is cut off.
    padded = padded.astype(np.float64).ravel()
    blurred = np.zeros(height * row)
    term = np.empty(_BLOCK)
    for start in range(0, len(blurred), _BLOCK):
        block = blurred[start : start + _BLOCK]
        for weight, top, left in taps:
            first = start + top * row + left
            block += np.multiply(padded[first : first + len(block)], weight, out=term[: len(block)])
    return blurred.reshape(height, -1)[:, : width * channels].reshape(image.shape)


def gaussian_weights(sigma: float) -> np.ndarray:
    """exp(-x² / 2 sigma²) for x = -r..r, r = 4 sigma rounded, scaled to a sum of 1."""
    half = _stored()['gaussian'][f'{sigma}']
    return np.array(half[:0:-1] + half)


def motion_weights(radius: int, sigma: float) -> np.ndarray:
    """exp(-x² / 2 sigma²) for x = 0..2 radius, scaled to a sum of 1."""
    return np.array(_stored()['motion'][f'{radius}, {sigma}'])


@lru_cache(maxsize=1)
def _stored() -> dict[str, dict[str, list[float]]]:
    return json.loads(Path(__file__).with_name('kernels.json').read_text())
