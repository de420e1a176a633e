"""Results with made-up metrics."""

import numpy as np

from projects.dat.corruptions.names import BENCHMARK, SEVERITIES
from projects.dat.evaluation.comparison import Comparison
from projects.dat.evaluation.results import CLEAN, Identity, Result

METRIC = 'coco/bbox_mAP'
SMALL = 'coco/bbox_mAP_s'
TOP1 = 'accuracy/top1'
OTHERS = (('fgsm', '4/255'), ('fgsm', '16/255'), ('imagenet_a', 0), ('imagenet_r', 0))


def make_identity(run=0, **changes) -> Identity:
    """Entries of ``data['coco_c']`` can be changed beside those of the identity."""
    data = dict(annotations_sha256='a' * 64, seed=0, channel_order='bgr', format='png')
    data.update({key: changes.pop(key) for key in list(changes) if key in data})
    values = dict(
        config='configs/c.py', config_sha256='0' * 64, checkpoint=f'run{run}.pth',
        checkpoint_sha256=f'{run:064}', metric=METRIC,
        packages={'numpy': '1.26.4', 'torch': '2.11.0'}, data=dict(coco_c=data),
    )
    return Identity(**{**values, **changes})


def make_result(
    run=0, corruptions=BENCHMARK, severities=SEVERITIES, clean=0.4, num_images=50, **changes
) -> Result:
    """A result whose metrics are drawn between 0.1 and 0.3; without clean images for None."""
    rng = np.random.default_rng(run)
    result = Result(make_identity(run, **changes))
    if clean is not None:
        result.add(CLEAN, {METRIC: clean, SMALL: -1.0}, num_images)
    for corruption in corruptions:
        for severity in severities:
            metrics = {METRIC: rng.uniform(0.1, 0.3), SMALL: -1.0}
            result.add((corruption, severity), metrics, num_images)
    return result


def make_classifier_result(run=0, others=OTHERS, **grid) -> Result:
    """A result of a classifier: accuracies, and some sets beside the corruptions."""
    result = Result(make_identity(run, metric=TOP1))
    for cell, found in make_result(run, **grid).cells.items():
        result.add(cell, {TOP1: found.metrics[METRIC]}, found.num_images)
    for i, cell in enumerate(others):
        result.add(cell, {TOP1: 0.01 * (run + i)}, 7 + i)
    return result


def make_comparison(names, seeds=1, costs=(), **changes) -> Comparison:
    """Methods by their names, with a draw of its own for every method and seed."""
    methods = {
        name: [make_result(seeds * i + seed, **changes) for seed in range(seeds)]
        for i, name in enumerate(names)
    }
    return Comparison(methods, dict(costs))


def matrix(result, corruptions=BENCHMARK, severities=SEVERITIES) -> np.ndarray:
    """The metric, (corruptions, severities)."""
    return np.array([[result.value((c, s)) for s in severities] for c in corruptions])
