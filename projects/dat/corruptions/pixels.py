"""From fractions of full brightness to bytes."""

import numpy as np

UNIT = np.arange(256) / 255
"""The fraction 0..1 that each byte stands for."""


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Bytes of a float array of fractions, which it overwrites.

    Fractions outside 0..1 are clipped; what is between two bytes is cut off, not rounded: published
    numbers have it.
    """
    np.clip(image, 0, 1, out=image)
    image *= 255
    return image.astype(np.uint8)
