"""One entry for all corruptions."""

import numpy as np

from projects.dat.runtime.errors import UserError

from . import blur, digital, noise, weather
from .names import CORRUPTIONS, SEVERITIES

MIN_SIDE = 32
"""Pixels; what the benchmark's own code refuses is refused here too."""

_FUNCTIONS = {
    name: getattr(module, name)
    for name in CORRUPTIONS
    for module in (noise, blur, weather, digital)
    if hasattr(module, name)
}


def corrupt(image: np.ndarray, name: str, severity: int, seed: int) -> np.ndarray:
    """Corrupts an image; equal arguments give equal results.

    Args:
        image: uint8 (H, W, 3), or (H, W) or (H, W, 1) grey, sides of 32 pixels or more.
        name: One of ``CORRUPTIONS``.
        severity: 1..5.
        seed: 0..2**32 - 1.

    Returns:
        A new uint8 array (H, W, 3).

    Raises:
        UserError: On any other argument.
    """
    image = _checked(image)
    if name not in CORRUPTIONS:
        raise UserError(f'There is no corruption {name!r}; take one of {", ".join(CORRUPTIONS)}.')
    if severity not in SEVERITIES:
        raise UserError(f'The severity of a corruption is 1, 2, 3, 4 or 5, not {severity!r}.')
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise UserError(f'The seed of a corruption is from 0 to {2**32 - 1}, not {seed!r}.')
    return _FUNCTIONS[name](image, int(severity), np.random.RandomState(seed))


def _checked(image: np.ndarray) -> np.ndarray:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise UserError(f'An image to corrupt is a uint8 array, not {kind}; convert it first.')
    if image.ndim == 2:
        image = image[..., np.newaxis]
    if image.ndim != 3 or image.shape[2] not in (1, 3):
        raise UserError(
            'An image to corrupt has the shape (height, width, 3) or (height, width), not '
            f'{image.shape}; convert it to RGB first.'
        )
    if min(image.shape[:2]) < MIN_SIDE:
        raise UserError(
            f'An image to corrupt is at least {MIN_SIDE} pixels high and wide, not '
            f'{image.shape[0]} x {image.shape[1]}; leave it out or enlarge it.'
        )
    if image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    return np.ascontiguousarray(image)
