import dataclasses

import pytest

from projects.dat.corruptions.names import BENCHMARK, GROUPS, HOLDOUT
from projects.dat.evaluation.comparison import Comparison, check_comparable
from projects.dat.runtime.errors import UserError
from tests.evaluation.comparison_case import make_result, matrix


def without(result, corruption, severity):
    cells = {name: dict(cells) for name, cells in result.cells.items()}
    del cells[corruption][severity]
    return dataclasses.replace(result, cells=cells)


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(annotations_sha256='b' * 64), 'annotations (SHA-256) are aaaaaaaaaaaa and bbbbbbb'),
        (dict(num_images=49), 'numbers of images are 50 and 49'),
        (dict(channel_order='rgb'), 'channel orders are bgr and rgb'),
        (dict(seed_=1), 'seeds are 0 and 1'),
        (dict(image_format='jpeg-85'), 'image formats are on the fly or png and jpeg-85'),
        (dict(metric='coco/bbox_mAP_s'), 'metrics are coco/bbox_mAP and coco/bbox_mAP_s'),
        (dict(clean=None), 'the second lacks the clean images'),
        (dict(severities=(1, 2, 3, 4)), 'shot_noise 5, impulse_noise 5 and 12 more cells;'),
        (dict(corruptions=BENCHMARK[1:]), 'gaussian_noise 3 and 2 more cells'),
        (dict(corruptions=(*BENCHMARK, 'spatter')), 'the first lacks spatter 1, spatter 2'),
        (dict(corruptions=()), 'c.json has no corrupted images'),
    ],
)
def test_runs_that_were_not_measured_alike_are_refused(changes, message):
    changes = dict(changes)
    seed = changes.pop('seed_', 0)
    other = dataclasses.replace(make_result(2, **changes), seed=seed)
    with pytest.raises(UserError) as error:
        check_comparable([make_result(0), make_result(1), other], ['a.json', 'b.json', 'c.json'])
    text = str(error.value)
    assert message in text
    assert 'c.json' in text and 'b.json' not in text and '\n' not in text
    if other.cells:
        assert text.startswith('a.json and c.json cannot be compared: ')


def test_the_first_of_two_that_lacks_a_cell_is_refused_too():
    runs = [without(make_result(0), 'fog', 3), make_result(1)]
    with pytest.raises(UserError, match='the first lacks fog 3;'):
        check_comparable(runs, ['a', 'b'])


@pytest.mark.parametrize('formats', [(None, 'png'), ('png', None), ('jpeg-85', 'jpeg-85')])
def test_formats_with_the_same_pixels_are_comparable(formats):
    runs = [make_result(i, image_format=value) for i, value in enumerate(formats)]
    assert Comparison(runs, ['a', 'b']).mean_name == 'mPC'
    with pytest.raises(UserError, match='jpeg-85 and jpeg-60'):
        Comparison([make_result(0, image_format=f'jpeg-{q}') for q in (85, 60)], ['a', 'b'])


@pytest.mark.parametrize(
    'count, names, message',
    [
        (1, ['a'], 'two or more runs, but got 1'),
        (2, ['a', 'a'], "'a' is given twice"),
        (2, ['a', ' '], "' ' is empty"),
        (3, ['a', 'b'], 'expected 3 names, one per result, but got 2: a, b'),
    ],
)
def test_names(count, names, message):
    with pytest.raises(UserError, match=message):
        Comparison([make_result(i) for i in range(count)], names)


def test_summary_of_complete_runs():
    runs = [make_result(i, clean=0.5, corruptions=(*BENCHMARK, *HOLDOUT)) for i in range(2)]
    comparison = Comparison(runs, ['a', 'b'])
    values = matrix(runs[1])
    assert comparison.summary(1) == pytest.approx(
        {
            'clean': 0.5,
            'mPC': values.mean(),
            'rPC': values.mean() / 0.5,
            'noise': values[:3].mean(),
            'blur': values[3:7].mean(),
            'weather': values[7:11].mean(),
            'digital': values[11:].mean(),
        }
    )
    assert list(comparison.groups) == [*GROUPS, 'hold-out']


def test_partial_runs_have_no_mpc():
    grid = dict(corruptions=('fog', 'gaussian_noise', 'spatter'), severities=(3, 1))
    runs = [make_result(i, **grid) for i in range(2)]
    comparison = Comparison(runs, ['a', 'b'])
    summary = comparison.summary(1)
    assert 'mPC' not in summary and summary['rPC'] is None and summary['noise'] is None
    counted = matrix(runs[1], ('fog', 'gaussian_noise'), (1, 3))
    assert summary['partial: mean of 4 of 75 cells'] == pytest.approx(counted.mean())
    assert comparison.corruptions == ['gaussian_noise', 'fog', 'spatter']
    assert comparison.severities == [1, 3]
    assert {group: len(cells) for group, cells in comparison.groups.items()} == {
        'noise': 2, 'weather': 2, 'hold-out': 2
    }
