"""Weights of the Gaussian and of the motion filter.

They are stored, not computed, because their last bits decide over whole grey levels: what is
between two bytes is cut off, so that an even area keeps its level or loses one according to whether
the weights add up to a little more or less than 1. numpy's exp differs in these bits between numpy
1 and 2, and in numpy 1 also between CPUs with and without AVX-512. Stored are those of numpy 1.23.5
with AVX-512 (tests/fixtures/make_corruption_fixtures.py).
"""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np


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
