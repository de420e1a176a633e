"""Linear interpolation with exactly the numbers that ``scipy.ndimage`` gives for order 1.

SciPy goes from pixel to pixel and from channel to channel; here a block of rows is computed at
once. A value is the sum over four neighbors of value times vertical weight times horizontal weight.
It is multiplied and added up in double precision in SciPy's order, so that the bits are the same.
"""

import numpy as np
from scipy import ndimage

_BLOCK = 8
"""Rows; the arrays for so many stay in the processor's cache."""


def enlarge_center(image: np.ndarray, factor: float) -> np.ndarray:
    """Enlarges the middle of an image to the image's size, or to slightly more.

    Args:
        image: Float (H, W, C).
        factor: 1 or more.

    Returns:
        (H', W', C) of the image's type, where H' = ceil(H / factor) * factor, rounded, and W' is
        alike.
    """
    height, width, channels = image.shape
    rows, columns = (int(np.ceil(side / factor)) for side in (height, width))
    top, left = (height - rows) // 2, (width - columns) // 2
    center = image[top : top + rows, left : left + columns].astype(np.float64)

    y, upper, lower = _neighbors(rows, factor)
    x, nearer, farther = _neighbors(columns, factor)
    x_weights = np.repeat(np.concatenate([nearer, farther]), channels)
    # The left neighbors of all places in a row, then the right ones.
    pairs = center.take(np.concatenate([x, x + 1]), axis=1, mode='clip').reshape(rows, -1)
    size = len(x) * channels
    enlarged = np.empty((len(y), size), image.dtype)
    above, below = np.empty((2, _BLOCK, 2 * size))
    for start in range(0, len(y), _BLOCK):
        block = slice(start, min(start + _BLOCK, len(y)))
        near = y[block]
        for terms, row, weights in ((above, near, upper), (below, near + 1, lower)):
            terms = terms[: len(near)]
            pairs.take(row, axis=0, mode='clip', out=terms)
            terms *= weights[block, np.newaxis]
            terms *= x_weights
        total = above[: len(near), :size]
        total += above[: len(near), size:]
        total += below[: len(near), :size]
        total += below[: len(near), size:]
        enlarged[block] = total
    return enlarged.reshape(len(y), len(x), channels)


def _neighbors(size: int, factor: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each place on an enlarged axis: the first of its two neighbors, and both weights."""
    enlarged = round(size * factor)
    place = np.arange(enlarged) * ((size - 1) / (enlarged - 1))
    first = np.floor(place)
    near = 1 - (place - first)
    far = 1 - near
    # Rounding can put the last place a trifle outside, where SciPy takes the image for black.
    outside = place > size - 1
    near[outside] = far[outside] = 0
    return first.astype(np.intp), near, far


def displace(image: np.ndarray, down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The image's values at displaced places; beyond its edges it is mirrored.

    Args:
        image: float32 (H, W, C).
        down: float32 (H, W); how far below a pixel its value is taken from, in pixels.
        right: float32 (H, W); likewise to the right of it.

    Returns:
        float32 (H, W, C).
    """
    height, width, channels = image.shape
    y = down + np.arange(height)[:, np.newaxis]
    x = right + np.arange(width)
    planes = np.ascontiguousarray(np.moveaxis(image, 2, 0), np.float64).reshape(channels, -1)
    displaced = np.empty_like(image)
    for start in range(0, height, _BLOCK):
        block = slice(start, start + _BLOCK)
        top, left = np.floor(y[block]), np.floor(x[block])
        upper, nearer = 1 - (y[block] - top), 1 - (x[block] - left)
        lower, farther = 1 - upper, 1 - nearer
        first = (top * width + left).astype(np.intp)
        for channel, plane in enumerate(planes):
            total = 0
            for offset, y_weight, x_weight in (
                (0, upper, nearer),
                (1, upper, farther),
                (width, lower, nearer),
                (width + 1, lower, farther),
            ):
                term = plane.take(first + offset, mode='clip')
                term *= y_weight
                term *= x_weight
                total += term
            displaced[block, :, channel] = total

    # The few places with a neighbor outside are left to SciPy.
    outside = (y < 0) | (y >= height - 1) | (x < 0) | (x >= width - 1)
    places = y[outside], x[outside]
    for channel in range(channels):
        displaced[outside, channel] = ndimage.map_coordinates(
            image[..., channel], places, order=1, mode='reflect'
        )
    return displaced
