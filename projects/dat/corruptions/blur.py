"""Blurs; every function gives a uint8 array (H, W, 3) of one, a severity 1..5 and a generator.

Strengths: Hendrycks and Dietterich (arXiv:1903.12261) as set by imagecorruptions 1.1.2.
"""

import cv2
import numpy as np

from .filters import gaussian, motion
from .interpolation import enlarge_center
from .pixels import UNIT, to_bytes


def gaussian_blur(image: np.ndarray, severity: int, rng: np.random.RandomState) -> np.ndarray:
    """Blurs like a soft lens."""
    return to_bytes(gaussian(UNIT[image], (1, 2, 3, 4, 6)[severity - 1]))


def defocus_blur(image: np.ndarray, severity: int, rng: np.random.RandomState) -> np.ndarray:
    """Spreads each pixel over a disk with a smoothed edge.

    OpenCV does it by a Fourier transform, whose last bits depend on the CPU: without AVX2 about one
    value in 100,000 is another grey level, the next one.
    """
    radius, sigma = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))[severity - 1]
    reach, edge = (8, 3) if radius <= 8 else (radius, 5)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = (x * x + y * y <= radius * radius).astype(np.float32)
    disk /= disk.sum()
    kernel = cv2.GaussianBlur(disk, (edge, edge), sigmaX=sigma)
    channels = [cv2.filter2D(UNIT[channel], -1, kernel) for channel in cv2.split(image)]
    return to_bytes(cv2.merge(channels))


def glass_blur(image: np.ndarray, severity: int, rng: np.random.RandomState) -> np.ndarray:
    """Moves pixels about as frosted glass does, with a Gaussian blur before and after.

    A pass goes from the bottom right pixel to the top left one and lets each take the color of a
    random neighbor. The two were meant to be swapped (Hendrycks and Dietterich, arXiv:1903.12261),
    but in imagecorruptions, and so in all published numbers, the neighbor keeps its color.
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


def motion_blur(image: np.ndarray, severity: int, rng: np.random.RandomState) -> np.ndarray:
    """Moves the camera at an angle of up to 45 degrees to the horizontal."""
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[severity - 1]
    blurred = motion(image, radius, sigma, angle=rng.uniform(-45, 45))
    return np.clip(blurred, 0, 255, out=blurred).astype(np.uint8)


def zoom_blur(image: np.ndarray, severity: int, rng: np.random.RandomState) -> np.ndarray:
    """Averages the image with enlargements of its middle."""
    stop, step = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))[
        severity - 1
    ]
    factors = np.arange(1, stop, step)
    unit = UNIT.astype(np.float32)[image]
    total = unit.copy()
    for factor in factors[1:]:
        total += enlarge_center(unit, factor)[: image.shape[0], : image.shape[1]]
    total += unit
    total /= len(factors) + 1
    return to_bytes(total)
