"""Changes of value and saturation."""

from collections.abc import Callable

import cv2
import numpy as np

from .pixels import UNIT, to_bytes

# For red, green and blue: whether it is the greatest, and the middle one, in each sixth of the
# hues. The seventh entry is for a hue that rounding puts at the end, which is the beginning again.
_IS_GREATEST = np.array([(1, 0, 0, 0, 0, 1, 1), (0, 1, 1, 0, 0, 0, 0), (0, 0, 0, 1, 1, 0, 0)], 'u1')
_IS_MIDDLE = np.array([(0, 1, 0, 0, 1, 0, 0), (1, 0, 0, 1, 0, 0, 1), (0, 0, 1, 0, 0, 1, 0)], 'u1')


def adjust(
    image: np.ndarray,
    value: Callable[[np.ndarray], np.ndarray] = np.array,
    saturation: Callable[[np.ndarray], np.ndarray] = np.array,
) -> np.ndarray:
    """Changes an image's value and saturation in HSV, with the hue as it is.

    The same numbers, bit for bit, as scikit-image's rgb2hsv and hsv2rgb give in double precision.
    Two of the three new channels depend on nothing but the greatest and the least old one; bytes
    have only 65,536 such pairs, and what becomes of each is looked up.

    Args:
        image: uint8 (H, W, 3).
        value: From an array of values in 0..1 to a new array of them. Defaults to no change.
        saturation: Likewise. Defaults to no change.

    Returns:
        uint8 (H, W, 3).
    """
    red, green, blue = cv2.split(image)
    high = cv2.max(cv2.max(red, green), blue)
    low = cv2.min(cv2.min(red, green), blue)
    pair = high.astype(np.uint16) << 8 | low

    values = value(UNIT)
    chroma = UNIT[:, np.newaxis] - UNIT
    saturations = np.zeros_like(chroma)
    np.divide(chroma, UNIT[:, np.newaxis], out=saturations, where=chroma > 0)
    saturations = saturation(saturations)
    least = to_bytes(values[:, np.newaxis] * (1 - saturations)).take(pair)

    hue = _hue(red, green, blue, high, low)
    hue *= 6
    sector = np.floor(hue)
    hue -= sector
    sector = sector.astype(np.uint8)
    # Within a sector the middle channel goes up (even sectors) or down with the hue.
    distance = np.where(sector & 1, hue, 1 - hue)
    distance *= saturations.take(pair)
    middle = to_bytes(values[high] * (1 - distance))
    greatest = to_bytes(values)[high]

    # Bytes wrap around in differences and in sums, so that these are exact.
    greatest -= least
    middle -= least
    channels = [
        least + greatest * is_greatest[sector] + middle * is_middle[sector]
        for is_greatest, is_middle in zip(_IS_GREATEST, _IS_MIDDLE, strict=True)
    ]
    return cv2.merge(channels)


def _hue(red, green, blue, high, low):
    """Hue in 0..1; 0 for grey."""
    # Where two channels are the greatest, the later one counts.
    is_blue = blue == high
    is_green = (green == high) & ~is_blue
    above = np.where(is_blue, red, np.where(is_green, blue, green))
    below = np.where(is_blue, green, np.where(is_green, red, blue))
    difference = UNIT[above] - UNIT[below]
    chroma = UNIT[high] - UNIT[low]
    chroma[high == low] = 1
    difference /= chroma
    difference += np.where(is_blue, 4.0, np.where(is_green, 2.0, 0.0))
    difference /= 6
    difference += difference < 0
    difference[high == low] = 0
    return difference
