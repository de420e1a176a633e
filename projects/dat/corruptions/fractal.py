"""Random clouds."""

import numpy as np


def plasma(size: int, decay: float, rng: np.random.RandomState) -> np.ndarray:
    """A height map by the diamond-square algorithm; it goes on seamlessly beyond its edges.

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
