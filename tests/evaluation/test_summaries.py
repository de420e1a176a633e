from itertools import product

import numpy as np
import pytest

from projects.dat.corruptions.names import BENCHMARK, CORRUPTIONS, GROUPS, HOLDOUT, SEVERITIES
from projects.dat.evaluation import summaries
from projects.dat.evaluation.results import CLEAN, Result
from tests.evaluation.result_case import (
    make_classifier_result,
    make_identity,
    make_result,
    matrix,
)


def only(cells, clean=0.5):
    """A complete result cut down to some cells."""
    whole = make_result(corruptions=CORRUPTIONS, clean=clean)
    kept = [*([CLEAN] if clean is not None else []), *cells]
    return Result(whole.identity, {cell: whole.cells[cell] for cell in kept})


def test_the_summary_of_the_whole_benchmark():
    result = make_result(clean=0.5)
    values = matrix(result)
    assert summaries.coco_c(result) == pytest.approx(dict(
        clean=0.5, mPC=values.mean(), rPC=values.mean() / 0.5, noise=values[:3].mean(),
        blur=values[3:7].mean(), weather=values[7:11].mean(), digital=values[11:].mean(),
    ))


def test_hold_out_corruptions_count_nowhere():
    benchmark = list(product(BENCHMARK, SEVERITIES))
    holdout = list(product(HOLDOUT, SEVERITIES))
    assert summaries.coco_c(only(benchmark + holdout)) == summaries.coco_c(only(benchmark))
    assert summaries.mean_name(summaries.coco_c(only(holdout))) is None


@pytest.mark.parametrize(
    'cells, clean, count, groups',
    [
        ([], 0.5, 0, set()),
        (product(BENCHMARK, SEVERITIES), None, 75, set(GROUPS)),
        (list(product(BENCHMARK, SEVERITIES))[:-1], 0.5, 74, {'noise', 'blur', 'weather'}),
        ([('fog', 3), ('snow', 1)], 0.5, 2, set()),
        (product(GROUPS['blur'], SEVERITIES), None, 20, {'blur'}),
        (product(BENCHMARK, (1, 3)), 0.5, 30, set(GROUPS)),
    ],
)
def test_a_partial_result_has_no_mpc(cells, clean, count, groups):
    cells = list(cells)
    result = only(cells, clean)
    summary = summaries.coco_c(result)
    assert 'mPC' not in summary and 'rPC' not in summary and summary['clean'] == clean
    assert {group for group in GROUPS if summary[group] is not None} == groups
    for group in groups:
        own = [result.value(cell) for cell in cells if cell[0] in GROUPS[group]]
        assert summary[group] == pytest.approx(np.mean(own))
    name = summaries.mean_name(summary)
    if count:
        assert name == f'partial: mean of {count} of 75 cells'
        assert summary[name] == pytest.approx(np.mean([result.value(cell) for cell in cells]))
    else:
        assert name is None


def test_no_rpc_of_a_model_that_finds_nothing():
    summary = summaries.coco_c(make_result(clean=0.0))
    assert summary['mPC'] > 0 and summary['rPC'] is None


# AlexNet's errors in per cent, rounded, in the order of the benchmark.
ALEXNET = [
    88.6, 89.4, 92.3, 82.0, 82.6, 78.6, 79.8, 86.7, 82.7, 81.9, 56.5, 85.3, 64.6, 71.8, 60.7,
]


def test_the_summary_of_imagenet_c():
    result = make_classifier_result(clean=0.7)
    errors = 1 - matrix(result)
    alexnet = np.array([summaries.ALEXNET[name] for name in BENCHMARK])
    np.testing.assert_allclose(100 * alexnet, ALEXNET, atol=0.0501)
    corruption_error = errors.sum(1) / (5 * alexnet)
    relative = (errors - 0.3).sum(1) / (5 * (alexnet - (1 - 0.56522)))
    values = matrix(result)
    assert summaries.imagenet_c(result) == pytest.approx({
        'clean': 0.7, 'mean corrupted': values.mean(), 'mCE': corruption_error.mean(),
        'relative mCE': relative.mean(), 'noise': values[:3].mean(), 'blur': values[3:7].mean(),
        'weather': values[7:11].mean(), 'digital': values[11:].mean(),
    })
    assert summaries.summary(result) == summaries.imagenet_c(result)
    assert summaries.mean_name(summaries.summary(result)) == 'mean corrupted'


def test_alexnet_itself_has_an_mce_of_one():
    result = Result(make_identity(metric='accuracy/top1'))
    result.add(CLEAN, {'accuracy/top1': 1 - summaries.ALEXNET_CLEAN}, 5)
    for name, severity in product(BENCHMARK, SEVERITIES):
        accuracy = 1 - summaries.ALEXNET[name] + 0.01 * (severity - 3)
        result.add((name, severity), {'accuracy/top1': accuracy}, 5)
    found = summaries.imagenet_c(result)
    assert found['mCE'] == pytest.approx(1) and found['relative mCE'] == pytest.approx(1)
    assert found['mean corrupted'] == pytest.approx(1 - np.mean(list(summaries.ALEXNET.values())))


@pytest.mark.parametrize(
    'change, known',
    [
        (lambda cells: None, {'clean', 'mean corrupted', 'mCE', 'relative mCE', *GROUPS}),
        (lambda cells: cells.pop(CLEAN), {'mean corrupted', 'mCE', *GROUPS}),
        (lambda cells: cells.pop(('fog', 3)),
         {'clean', 'partial: mean of 74 of 75 cells', 'noise', 'blur', 'digital'}),
    ],
)
def test_what_a_partial_result_of_imagenet_c_has(change, known):
    result = make_classifier_result()
    change(result.cells)
    found = summaries.imagenet_c(result)
    assert {name for name, value in found.items() if value is not None} == known


def test_other_sets_have_an_order_and_groups_of_their_own():
    cells = [('pgd', 4), ('pgd', '16/255'), ('fog', 3), CLEAN, ('coco_o', 'cartoon'),
             ('pgd', '2/255'), ('imagenet_a', 0), ('shot_noise', 1), ('pgd', '0.5')]
    assert summaries.ordered(cells) == [
        ('shot_noise', 1), ('fog', 3), ('coco_o', 'cartoon'), ('imagenet_a', 0),
        ('pgd', '2/255'), ('pgd', '16/255'), ('pgd', '0.5'), ('pgd', 4),
    ]
    assert summaries.group_of('pgd') == 'pgd' and summaries.group_of('spatter') == 'hold-out'
    result = Result(make_identity())
    result.add(('pgd', 4), {'coco/bbox_mAP': 0.2}, 5)
    assert set(summaries.coco_c(result).values()) == {None}
