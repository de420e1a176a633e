import statistics

import pytest

from projects.dat.corruptions.names import BENCHMARK
from projects.dat.evaluation.comparison import Comparison, Spread
from projects.dat.evaluation.results import Result
from projects.dat.evaluation.summaries import mean_of, named
from projects.dat.runtime.errors import UserError
from tests.evaluation.result_case import (
    OTHERS,
    make_classifier_result,
    make_comparison,
    make_result,
    matrix,
)


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(annotations_sha256='b' * 64), 'annotations_sha256 of coco_c is aaaaaaaa and bbbbbb'),
        (dict(num_images=49), 'numbers of images of clean are 50 and 49'),
        (dict(channel_order='rgb'), 'channel_order of coco_c is bgr and rgb'),
        (dict(seed=1), 'seed of coco_c is 0 and 1'),
        (dict(format='jpeg 85'), 'format of coco_c is png and jpeg 85'),
        (dict(metric='coco/bbox_mAP_s'), 'metric is coco/bbox_mAP and coco/bbox_mAP_s'),
        (dict(packages={'numpy': '2.0.0'}), 'version of numpy is 1.26.4 and 2.0.0'),
        (dict(clean=None), 'the second lacks the clean images'),
        (dict(severities=(1, 2, 3, 4)), 'shot_noise 5, impulse_noise 5 and 12 more cells)'),
        (dict(corruptions=BENCHMARK[1:]), 'gaussian_noise 3 and 2 more cells'),
        (dict(corruptions=(*BENCHMARK, 'spatter')), 'the first lacks spatter 1, spatter 2'),
    ],
)
def test_results_that_were_not_measured_alike_are_refused(changes, message):
    methods = {'A': [make_result(0)], 'B': [make_result(1)], 'C': [make_result(2, **changes)]}
    with pytest.raises(UserError) as error:
        Comparison(methods)
    text = str(error.value)
    assert text.startswith('A and C cannot be compared (') and message in text
    assert 'B' not in text and '\n' not in text


def test_other_models_and_packages_that_are_not_used_can_be_compared():
    other = make_result(1, config='d.py', config_sha256='1' * 64, packages={'timm': '1.0'})
    assert Comparison({'a': [make_result(0)], 'b': [other]}).seeds == 1


def test_the_first_of_two_that_lacks_a_cell_is_refused_too():
    first = make_result(0)
    del first.cells['fog', 3]
    with pytest.raises(UserError, match='a and b cannot .*the first lacks fog 3'):
        Comparison({'a': [first], 'b': [make_result(1)]})


def test_seeds_are_paired_or_refused():
    runs = [make_result(i) for i in range(4)]
    with pytest.raises(UserError, match='but got 2 of a, 1 of b: give the same seeds'):
        Comparison({'a': runs[:2], 'b': runs[2:3]})
    with pytest.raises(UserError, match="two results of 'b' are of the same checkpoint"):
        Comparison({'a': runs[:2], 'b': [runs[3], runs[3]]})
    runs[3] = make_result(3, seed=1)
    with pytest.raises(UserError, match=r'a \(result 1\) and b \(result 2\) cannot be compared'):
        Comparison({'a': runs[:2], 'b': runs[2:]})


def test_means_and_spreads_are_over_seeds_and_differences_are_paired():
    comparison = make_comparison(['a', 'b', 'c'], seeds=3)
    clean_c = comparison.methods['c']
    for quantity, number in (
        (named('mPC'), lambda x: matrix(x).mean()),
        (named('rPC'), lambda x: matrix(x).mean() / 0.4),
        (mean_of([('fog', 2)]), lambda x: x.value(('fog', 2))),
    ):
        own = [number(x) for x in clean_c]
        found = comparison.absolute('c', quantity)
        assert found.mean == pytest.approx(statistics.mean(own))
        assert found.std == pytest.approx(statistics.stdev(own))
        pairs = [x - number(y) for x, y in zip(own, comparison.methods['a'], strict=True)]
        found = comparison.difference('c', quantity)
        assert found.mean == pytest.approx(statistics.mean(pairs))
        assert found.std == pytest.approx(statistics.stdev(pairs))
        assert found.exceeds == (abs(statistics.mean(pairs)) > statistics.stdev(pairs))
    assert comparison.absolute('a', mean_of([('spatter', 1)])) is None
    assert comparison.difference('b', mean_of([('spatter', 1)])) is None


def test_pairing_removes_what_seeds_have_in_common():
    """The seeds differ by 0.1, the methods by 0.01 for every seed."""
    def result(run, value):
        made = Result(make_result(run).identity)
        made.add(('fog', 1), {'coco/bbox_mAP': value}, 5)
        return made

    fog = mean_of([('fog', 1)])
    comparison = Comparison({
        'a': [result(0, 0.1), result(1, 0.2), result(2, 0.3)],
        'b': [result(3, 0.11), result(4, 0.21), result(5, 0.31)],
    })
    assert comparison.absolute('b', fog).std == pytest.approx(0.1)
    found = comparison.difference('b', fog)
    assert found == Spread(pytest.approx(0.01), pytest.approx(0, abs=1e-9)) and found.exceeds


@pytest.mark.parametrize(
    'values, exceeds',
    [([0.1], False), ([0.1, 0.1], True), ([0.1, -0.1], False), ([0.0, 0.0], False),
     ([-0.3, -0.1], True), ([0.05, 0.2], True), ([-0.02, 0.2], False)],
)
def test_what_exceeds_its_spread(values, exceeds):
    spread = Spread.of(values)
    assert spread.exceeds == exceeds and (spread.std is None) == (len(values) == 1)
    assert Spread.of([*values, None]) is None


def test_cells_are_in_the_benchmarks_order():
    grid = dict(corruptions=('fog', 'gaussian_noise', 'spatter'), severities=(3, 1))
    comparison = make_comparison(['a', 'b'], **grid)
    assert comparison.corruptions == ['gaussian_noise', 'fog', 'spatter']
    assert comparison.severities == [1, 3] and comparison.others == ['b']
    assert comparison.other_cells == []


def test_other_sets_are_told_from_corruptions():
    grid = dict(corruptions=('fog',), severities=(2,))
    comparison = Comparison({'a': [make_classifier_result(**grid)]})
    assert comparison.corruptions == ['fog'] and comparison.severities == [2]
    # By value: as words, 16/255 would come first.
    assert comparison.other_cells == list(OTHERS)
