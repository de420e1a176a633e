"""Robustness results with made-up metrics."""

import numpy as np

from projects.dat.corruptions.names import BENCHMARK, SEVERITIES
from projects.dat.evaluation.results import RobustnessResult

METRIC = 'coco/bbox_mAP'


def make_result(
    seed=0, corruptions=BENCHMARK, severities=SEVERITIES, clean=0.4, **changes
) -> RobustnessResult:
    """A result whose metrics are drawn between 0.1 and 0.3; without clean images for None."""
    rng = np.random.default_rng(seed)
    values = dict(
        config='configs/c.py',
        config_sha256='0' * 64,
        checkpoint=f'run{seed}.pth',
        checkpoint_sha256=f'{seed:064}',
        annotations_sha256='a' * 64,
        num_images=50,
        seed=0,
        channel_order='bgr',
        image_format=None,
        metric=METRIC,
        packages={'numpy': '1.26.4'},
        clean=None if clean is None else {METRIC: clean, 'coco/bbox_mAP_s': -1.0},
        cells={
            corruption: {
                severity: {METRIC: float(rng.uniform(0.1, 0.3)), 'coco/bbox_mAP_s': -1.0}
                for severity in severities
            }
            for corruption in corruptions
        },
    )
    return RobustnessResult(**{**values, **changes})


def matrix(result, corruptions=BENCHMARK, severities=SEVERITIES) -> np.ndarray:
    """The metric, (corruptions, severities)."""
    return np.array([[result.cells[c][s][METRIC] for s in severities] for c in corruptions])
