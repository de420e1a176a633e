"""Weather; every function gives a uint8 array (H, W, 3) of one, a severity 1..5 and a generator.

Strengths: Hendrycks and Dietterich (arXiv:1903.12261) as set by imagecorruptions 1.1.2.
"""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from projects.dat.runtime.errors import UserError

from . import hsv
from .filters import gaussian, motion
from .interpolation import enlarge_center
from .pixels import UNIT, to_bytes


def snow(image: np.ndarray, severity: int, rng: np.random.RandomState) -> np.ndarray:
    """Whitens the image, and lets flakes fall that motion blurs."""
    mean, spread, size, threshold, radius, sigma, share = (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    )[severity - 1]
    height, width = image.shape[:2]
    flakes = enlarge_center(rng.normal(mean, spread, size=(height, width, 1)), size)
    flakes[flakes < threshold] = 0
    flakes = motion(np.clip(flakes, 0, 1), radius, sigma, angle=rng.uniform(-135, -45))
    flakes = UNIT[np.round(flakes[:height, :width, 0] * 255).astype(np.uint8)]

    unit = UNIT.astype(np.float32)[image]
    white = cv2.cvtColor(unit, cv2.COLOR_RGB2GRAY) * 1.5 + 0.5
    channels = [
        share * channel + (1 - share) * np.maximum(channel, white) + flakes + flakes[::-1, ::-1]
        for channel in cv2.split(unit)
    ]
    return cv2.merge([to_bytes(channel) for channel in channels])


def frost(image: np.ndarray, severity: int, rng: np.random.RandomState) -> np.ndarray:
    """Adds a random part of one of five pictures of frost, which imagecorruptions brings along."""
    image_share, frost_share = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))[
        severity - 1
    ]
    height, width = image.shape[:2]
    picture = _frost_picture(rng.randint(5))
    # A tenth larger than the image at least, so that there is a choice of parts.
    factor = 1.1 * max(1, height / picture.shape[0], width / picture.shape[1])
    size = tuple(int(np.ceil(side * factor)) for side in picture.shape[1::-1])
    picture = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
    top = rng.randint(0, picture.shape[0] - height)
    left = rng.randint(0, picture.shape[1] - width)
    part = picture[top : top + height, left : left + width, ::-1]

    bytes_ = np.arange(256)
    mixed = image_share * bytes_ + frost_share * bytes_[:, np.newaxis]
    mixed = np.clip(mixed, 0, 255).astype(np.uint8)
    return mixed.take(part.astype(np.uint16) << 8 | image)


@lru_cache(maxsize=5)
def _frost_picture(index: int) -> np.ndarray:
    package = find_spec('imagecorruptions')
    if package is None:
        raise UserError(
            'Frost needs the pictures of the package imagecorruptions, which is not installed; '
            'run pip install imagecorruptions==1.1.2.'
        )
    name = ('frost1.png', 'frost2.png', 'frost3.png', 'frost4.jpg', 'frost5.jpg')[index]
    path = Path(package.origin).parent / 'frost' / name
    picture = cv2.imread(str(path))
    if picture is None:
        raise UserError(
            f'Frost needs the picture {path}, which cannot be read; '
            'run pip install --force-reinstall --no-deps imagecorruptions==1.1.2.'
        )
    return picture


def fog(image: np.ndarray, severity: int, rng: np.random.RandomState) -> np.ndarray:
    """Adds clouds and darkens the sum."""
    density, decay = ((1.5, 2), (2.0, 2), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))[severity - 1]
    height, width = image.shape[:2]
    size = 1 << (max(height, width) - 1).bit_length()
    clouds = density * plasma(size, decay, rng)[:height, :width]
    brightest = UNIT[image.max()]
    channels = [
        (UNIT[channel] + clouds) * brightest / (brightest + density) for channel in cv2.split(image)
    ]
    return cv2.merge([to_bytes(channel) for channel in channels])


def plasma(size: int, decay: float, rng: np.random.RandomState) -> np.ndarray:
    """Random clouds: a height map by the diamond-square algorithm, seamless beyond its edges.

    Fournier, Fussell and Carpenter, "Computer rendering of stochastic models", 1982.

    Args:
        size: Pixels a side; a power of two.
        decay: What the displacement's square root is divided by from each scale to the next finer
            one; the greater, the smoother.
        rng: Where the displacements are drawn from.

    Returns:
        float64 (size, size) from 0 to 1, both included.
    """
    field = np.zeros((1, 1))
    roughness = 100.0

    def displaced(neighbors):
        noise = rng.uniform(-roughness, roughness, neighbors.shape)
        noise *= roughness
        neighbors /= 4
        neighbors += noise
        return neighbors

    while len(field) < size:
        # Every point gets three new ones: in the middle of its square, at the right, and below.
        columns = field + np.roll(field, -1, axis=0)
        rows = field + np.roll(field, -1, axis=1)
        middle = displaced(columns + np.roll(columns, -1, axis=1))
        right = displaced(middle + np.roll(middle, 1, axis=0) + rows)
        below = displaced(middle + np.roll(middle, 1, axis=1) + columns)
        finer = np.empty((2 * len(field), 2 * len(field)))
        finer[::2, ::2], finer[::2, 1::2] = field, right
        finer[1::2, ::2], finer[1::2, 1::2] = below, middle
        field = finer
        roughness /= decay
    field -= field.min()
    field /= field.max()
    return field


def brightness(image: np.ndarray, severity: int, rng: np.random.RandomState) -> np.ndarray:
    """Raises the value in HSV."""
    offset = (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1]
    return hsv.adjust(image, value=lambda value: np.clip(value + offset, 0, 1))


def spatter(image: np.ndarray, severity: int, rng: np.random.RandomState) -> np.ndarray:
    """Splashes the lens with water, or with mud from severity 4 on.

    An image so small that no drop falls on it is left as it was (imagecorruptions makes it black,
    by dividing 0 by 0).
    """
    mean, spread, sigma, threshold, strength, mud = (
        (0.65, 0.3, 4, 0.69, 0.6, False),
        (0.65, 0.3, 3, 0.68, 0.6, False),
        (0.65, 0.3, 2, 0.68, 0.5, False),
        (0.65, 0.3, 1, 0.65, 1.5, True),
        (0.67, 0.4, 1, 0.65, 1.5, True),
    )[severity - 1]
    liquid = gaussian(rng.normal(mean, spread, size=image.shape[:2]), sigma)
    liquid[liquid < threshold] = 0
    unit = UNIT.astype(np.float32)[image]
    if mud:
        drops = gaussian((liquid > threshold).astype(np.float32), strength)[..., np.newaxis]
        drops[drops < 0.8] = 0
        return to_bytes(unit * (1 - drops) + drops * UNIT[[63, 42, 20]])
    drops = _water((liquid * 255).astype(np.uint8))
    if drops.any():
        drops /= drops.max()
    drops *= strength
    return to_bytes(unit + drops[..., np.newaxis] * UNIT[[175, 238, 238]].astype(np.float32))


def _water(liquid: np.ndarray) -> np.ndarray:
    """float32 (H, W) of any scale: how much light drops of water add, most of it at their edges."""
    distance = cv2.distanceTransform(255 - cv2.Canny(liquid, 50, 150), cv2.DIST_L2, 5)
    distance = cv2.blur(np.minimum(distance, 20), (3, 3)).astype(np.uint8)
    emboss = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    relief = cv2.filter2D(cv2.equalizeHist(distance), cv2.CV_8U, emboss)
    return liquid * cv2.blur(relief, (3, 3)).astype(np.float32)
