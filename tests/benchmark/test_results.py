import dataclasses
import json

import pytest

from projects.dat.benchmark.results import BASE, BOUND, PLAIN, RECIPE, SCHEMA, STEP, Spread
from tests.benchmark.samples import FAST, make_result


def test_the_ratio_is_taken_within_a_round():
    """The slow round cancels: (3, 7, 2.9) over (1, 2, 1) is (3, 3.5, 2.9)."""
    result = make_result()
    for size, batch in result.groups:
        step = result.find(size, batch, FAST)
        ratio = result.ratio(step)
        assert dataclasses.astuple(ratio) == pytest.approx((3, 2.9, 3.5))
        unit = (size / 256) ** 2 * batch
        assert dataclasses.astuple(result.seconds(step)) == pytest.approx(
            (3 * unit, 2.9 * unit, 7 * unit)
        )
        plain = result.ratio(result.find(size, batch, PLAIN))
        assert dataclasses.astuple(plain) == (1, 1, 1)


@pytest.mark.parametrize(
    'values, expected',
    [([4.0], (4, 4, 4)), ([1.0, 9.0], (5, 1, 9)), ([3.0, 100.0, 1.0], (3, 1, 100)), ([], None)],
)
def test_spread(values, expected):
    spread = Spread.of(iter(values))
    assert (spread and dataclasses.astuple(spread)) == expected


def test_what_has_no_samples_has_no_ratio():
    result = make_result()
    skipped = result.find(512, 2, RECIPE)
    assert skipped.skipped and result.ratio(skipped) is None and result.seconds(skipped) is None
    assert result.find(512, 2, RECIPE, 'attack') is None


def test_a_row_has_a_plain_step_of_its_own():
    result = make_result()
    recipe = result.find(256, 1, RECIPE)
    assert recipe.seconds == [200, 400, 200]
    assert dataclasses.astuple(result.ratio(recipe)) == (100, 100, 100)
    result.find(256, 1, RECIPE, BASE).seconds = []
    assert result.ratio(recipe) is None


def test_a_case_that_stopped_early_has_fewer_ratios():
    result = make_result()
    step = result.find(256, 1, FAST)
    step.seconds = step.seconds[:2]
    assert dataclasses.astuple(result.ratio(step)) == pytest.approx((3.25, 3, 3.5))


def test_groups_rows_and_rounds():
    result = make_result()
    assert result.groups == [(256, 1), (256, 2), (512, 1), (512, 2)]
    assert result.rows == [PLAIN, FAST, RECIPE]
    assert result.rounds == 3


def test_the_bound():
    """Attack: forward and backward to the image. Then forward and backward of twice the images."""
    forward, backward = 1, 2
    attack = forward + backward / 2
    assert pytest.approx((attack + 2 * (forward + backward)) / (forward + backward)) == BOUND


def test_json_holds_every_sample(tmp_path):
    result = make_result()
    result.save(tmp_path / 'new' / 'b.json')
    content = json.loads((tmp_path / 'new' / 'b.json').read_text())
    assert content['schema'] == SCHEMA
    assert content['command'] == ['tools/benchmark.py', '--out', 'a folder']
    assert content['machine'] == dict(device='a machine', threads=1)
    steps = [
        m for m in content['measurements'] if m['row'] == FAST and m['quantity'] == STEP
    ]
    assert [(m['size'], m['batch']) for m in steps] == result.groups
    assert steps[0]['seconds'] == [3, 7, 2.9]
    assert steps[0]['peak_bytes'] == 180 << 20
    assert content['measurements'][-1]['skipped'] == 'its matrices need too much.'
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['b.json']
