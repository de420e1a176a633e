"""Digital artefacts; every function gives a uint8 array (H, W, 3) of one, a severity 1..5 and a
generator.

Strengths: Hendrycks and Dietterich (arXiv:1903.12261) as set by imagecorruptions 1.1.2.
"""

from io import BytesIO

import cv2
import numpy as np
from PIL import Image
from scipy import ndimage

from . import hsv
from .interpolation import displace
from .pixels import UNIT, to_bytes


def contrast(image: np.ndarray, severity: int, rng: np.random.RandomState) -> np.ndarray:
    """Moves each value towards its channel's mean."""
    factor = (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1]
    channels = []
    for channel in cv2.split(image):
        # Added up one by one: a sum in another order has other last bits.
        mean = UNIT[channel].cumsum()[-1] / channel.size
        channels.append(to_bytes((UNIT - mean) * factor + mean)[channel])
    return cv2.merge(channels)


def elastic_transform(image: np.ndarray, severity: int, rng: np.random.RandomState) -> np.ndarray:
    """Displaces pixels by smooth random fields (Simard et al., 2003)."""
    strength = 250 * (0.05, 0.065, 0.085, 0.1, 0.12)[severity - 1]
    height, width = image.shape[:2]
    reach = height * 0.005
    sigma = np.array((height, width)) * 0.01

    def field():
        noise = rng.uniform(-reach, reach, size=(height, width))
        smooth = ndimage.gaussian_filter(noise, sigma, mode='reflect', truncate=3)
        return (smooth * strength).astype(np.float32)

    right, down = field(), field()
    return to_bytes(displace(UNIT.astype(np.float32)[image], down, right))


def pixelate(image: np.ndarray, severity: int, rng: np.random.RandomState) -> np.ndarray:
    """Makes the pixels larger."""
    scale = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1]
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize((int(width * scale), int(height * scale)), Image.BOX)
    return np.array(small.resize((width, height), Image.NEAREST))


def jpeg_compression(image: np.ndarray, severity: int, rng: np.random.RandomState) -> np.ndarray:
    """Compresses as a JPEG of low quality."""
    file = BytesIO()
    Image.fromarray(image).save(file, 'JPEG', quality=(25, 18, 15, 10, 7)[severity - 1])
    return np.array(Image.open(file))


def saturate(image: np.ndarray, severity: int, rng: np.random.RandomState) -> np.ndarray:
    """Changes the saturation in HSV."""
    factor, offset = ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))[severity - 1]
    return hsv.adjust(image, saturation=lambda value: np.clip(value * factor + offset, 0, 1))
