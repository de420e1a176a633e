"""The drawn objects of the demo data: five shapes from signed distances, anti-aliased."""

import colorsys
from collections.abc import Callable

import numpy as np

CLASSES = ('ring', 'triangle', 'star', 'cross', 'square')
OUTLINE = 0.10  # width of the outline, in units of the shape's radius


def draw_object(
    label: int, side: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one object in a random color and at a random angle.

    Args:
        label (int): Index into ``CLASSES``.
        side (float): The longer side of the object's box, in pixels, up to a rounding.
        rng (np.random.Generator): Decides color and angle.

    Returns:
        tuple[np.ndarray, np.ndarray]: Colors 0..255, float (H, W, 3), and coverage 0..1, float
        (H, W). The arrays end where the coverage does.
    """
    angle = rng.uniform(0, 2 * np.pi)
    color = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.85, 1), rng.uniform(0.75, 1)))
    luminance = color @ (0.299, 0.587, 0.114)
    line = np.full(3, 245.0 if luminance < 0.5 else 15.0)

    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    extent = np.ptp(_corners(label) @ turn.T, axis=0).max() if label else 2.0
    radius = side / extent
    reach = int(np.ceil(radius * 1.5)) + 1
    grid = np.arange(-reach, reach + 1) / radius
    points = np.stack(np.meshgrid(grid, grid), -1) @ turn
    distance = _distance(label, points)

    def coverage(inside: np.ndarray) -> np.ndarray:
        return np.clip(0.5 - inside * radius, 0, 1)

    alpha = coverage(distance)
    core = coverage(distance + OUTLINE) * (1 - _pattern(label, points, coverage))
    colors = line + (color * 255 - line) * core[..., None]
    rows, columns = np.nonzero(alpha.any(1))[0], np.nonzero(alpha.any(0))[0]
    window = np.s_[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
    return colors[window], alpha[window]


def _corners(label: int) -> np.ndarray:
    """Corners of the polygon, (n, 2), in units of the radius."""
    name = CLASSES[label]
    if name == 'cross':
        arm = 0.34
        quarter = np.array([[1, -arm], [1, arm], [arm, arm]])
        quarter_turn = np.array([[0, -1], [1, 0]])
        return np.concatenate(
            [quarter @ np.linalg.matrix_power(quarter_turn, k).T for k in range(4)]
        )
    count = {'triangle': 3, 'square': 4, 'star': 10}[name]
    angles = np.arange(count) * 2 * np.pi / count
    radii = np.where(np.arange(count) % 2, 0.45, 1.0) if name == 'star' else np.ones(count)
    return radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], -1)


def _distance(label: int, points: np.ndarray) -> np.ndarray:
    """Signed distance of points (..., 2) to the shape's border, negative inside."""
    if CLASSES[label] == 'ring':
        return np.abs(np.linalg.norm(points, axis=-1) - 0.72) - 0.28
    starts = _corners(label)
    nearest = np.full(points.shape[:-1], np.inf)
    inside = np.zeros(points.shape[:-1], bool)
    for start, end in zip(starts, np.roll(starts, -1, axis=0), strict=True):
        edge, to = end - start, points - start
        along = np.clip(to @ edge / (edge @ edge), 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(to - along[..., None] * edge, axis=-1))
        crosses = (start[1] > points[..., 1]) != (end[1] > points[..., 1])
        if edge[1]:
            inside ^= crosses & (to[..., 0] < edge[0] * to[..., 1] / edge[1])
    return np.where(inside, -nearest, nearest)


def _pattern(label: int, points: np.ndarray, coverage: Callable) -> np.ndarray:
    """Share 0..1 of each point that the class's own marking covers."""
    name = CLASSES[label]
    if name == 'square':  # stripes
        return coverage(0.09 - np.abs((points[..., 0] + points[..., 1] + 8) % 0.5 - 0.25))
    if name == 'star':  # a dot
        return coverage(np.linalg.norm(points, axis=-1) - 0.2)
    return np.zeros(points.shape[:-1])
