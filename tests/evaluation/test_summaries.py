from itertools import product

import numpy as np
import pytest

from projects.dat.corruptions.names import BENCHMARK, CORRUPTIONS, GROUPS, HOLDOUT, SEVERITIES
from projects.dat.evaluation import summaries
from projects.dat.evaluation.results import CLEAN, Result
from tests.evaluation.result_case import make_identity, make_result, matrix


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
    ],
)
def test_a_partial_result_has_no_mpc(cells, clean, count, groups):
    cells = list(cells)
    result = only(cells, clean)
    summary = summaries.coco_c(result)
    assert 'mPC' not in summary and 'rPC' not in summary and summary['clean'] == clean
    assert {group for group in GROUPS if summary[group] is not None} == groups
    name = summaries.mean_name(summary)
    if count:
        assert name == f'partial: mean of {count} of 75 cells'
        assert summary[name] == pytest.approx(np.mean([result.value(cell) for cell in cells]))
    else:
        assert name is None


def test_no_rpc_of_a_model_that_finds_nothing():
    summary = summaries.coco_c(make_result(clean=0.0))
    assert summary['mPC'] > 0 and summary['rPC'] is None


def test_other_sets_have_an_order_and_groups_of_their_own():
    cells = [('pgd', 4), ('fog', 3), CLEAN, ('coco_o', 'cartoon'), ('pgd', 0.5), ('shot_noise', 1)]
    assert summaries.ordered(cells) == [
        ('shot_noise', 1), ('fog', 3), ('coco_o', 'cartoon'), ('pgd', 0.5), ('pgd', 4)
    ]
    assert summaries.group_of('pgd') == 'pgd' and summaries.group_of('spatter') == 'hold-out'
    result = Result(make_identity())
    result.add(('pgd', 4), {'coco/bbox_mAP': 0.2}, 5)
    assert set(summaries.coco_c(result).values()) == {None}
