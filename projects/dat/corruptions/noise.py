"""Noise; every function gives a uint8 array (H, W, 3) of one, a severity 1..5 and a generator.

Strengths: Hendrycks and Dietterich (arXiv:1903.12261) as set by imagecorruptions 1.1.2.
"""

import numpy as np

from .pixels import UNIT, to_bytes


def gaussian_noise(image: np.ndarray, severity: int, rng: np.random.RandomState) -> np.ndarray:
    """Adds normal noise to each value."""
    scale = (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1]
    noise = rng.normal(scale=scale, size=image.shape)
    noise += UNIT[image]
    return to_bytes(noise)


def shot_noise(image: np.ndarray, severity: int, rng: np.random.RandomState) -> np.ndarray:
    """Counts photons, few for each value."""
    brightest = (60, 25, 12, 5, 3)[severity - 1]
    return to_bytes(rng.poisson(UNIT[image] * brightest) / brightest)


def impulse_noise(image: np.ndarray, severity: int, rng: np.random.RandomState) -> np.ndarray:
    """Sets a share of the values to 0 or 255.

    imagecorruptions leaves the draw to scikit-image, which takes it from the operating system's
    entropy since 0.19: no seed repeats it. This draws from ``rng`` as scikit-image did up to 0.18,
    and so gives what the two gave together then: each value is hit with the same probability, on
    its own, is then 0 or 255 with the same probability, and is otherwise left as it was.
    """
    amount = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    hit = rng.random_sample(image.shape) < amount
    salt = rng.random_sample(image.shape) < 0.5
    noisy = image.copy()
    noisy[hit] = np.where(salt[hit], 255, 0)
    return noisy


def speckle_noise(image: np.ndarray, severity: int, rng: np.random.RandomState) -> np.ndarray:
    """Adds normal noise in proportion to each value."""
    scale = (0.15, 0.2, 0.35, 0.45, 0.6)[severity - 1]
    noise = rng.normal(scale=scale, size=image.shape)
    unit = UNIT[image]
    noise *= unit
    noise += unit
    return to_bytes(noise)
