"""Result files: what their summaries say, and that damage is noticed."""

import json
from itertools import product

import numpy as np
import pytest

from projects.dat.corruptions.names import BENCHMARK, GROUPS, HOLDOUT, SEVERITIES
from projects.dat.evaluation.report import format_result
from projects.dat.evaluation.results import RobustnessResult
from projects.dat.runtime.errors import UserError

GRID = list(product(BENCHMARK, SEVERITIES))


def make_result(cells=(), clean=None):
    """A result with an AP of its own in each cell."""
    result = RobustnessResult(
        config='c.py', config_sha256='1', checkpoint='c.pth', checkpoint_sha256='2',
        annotations_sha256='3', num_images=5, seed=0, channel_order='bgr', image_format=None,
        metric='coco/bbox_mAP', packages={'numpy': '1.26.4'},
    )
    if clean is not None:
        result.add(None, 0, {'coco/bbox_mAP': clean, 'coco/bbox_mAP_50': 0.9})
    for name, severity in cells:
        result.add(name, severity, {'coco/bbox_mAP': value(name, severity), 'other': float('nan')})
    return result


def value(name, severity):
    return 0.4 / (1 + severity) + 0.01 * (sum(map(ord, name)) % 13)


def test_the_summary_of_the_whole_benchmark():
    summary = make_result(GRID, clean=0.5).summary()
    values = np.array([[value(name, s) for s in SEVERITIES] for name in BENCHMARK])
    assert summary.complete and summary.partial is None and summary.P == 0.5
    assert summary.mPC == pytest.approx(values.mean())
    assert summary.rPC == pytest.approx(values.mean() / 0.5)
    at = 0
    for group, names in GROUPS.items():
        assert summary.groups[group] == pytest.approx(values[at:at + len(names)].mean())
        at += len(names)
    assert at == 15


def test_hold_out_corruptions_count_nowhere():
    more = make_result([*GRID, *product(HOLDOUT, SEVERITIES)], clean=0.5)
    assert more.summary() == make_result(GRID, clean=0.5).summary()
    assert make_result(product(HOLDOUT, SEVERITIES), clean=0.5).summary().partial is None


@pytest.mark.parametrize(
    'cells, clean, partial, groups',
    [
        ([], 0.5, 0, set()),
        (GRID, None, 75, set(GROUPS)),
        (GRID[:-1], 0.5, 74, {'noise', 'blur', 'weather'}),
        ([('fog', 3), ('snow', 1)], 0.5, 2, set()),
        (product(GROUPS['blur'], SEVERITIES), None, 20, {'blur'}),
    ],
)
def test_a_partial_run_has_no_mpc(cells, clean, partial, groups):
    cells = list(cells)
    result = make_result(cells, clean)
    summary = result.summary()
    assert not summary.complete and summary.mPC is None and summary.rPC is None
    assert {group for group, mean in summary.groups.items() if mean is not None} == groups
    if partial:
        mean = sum(value(*cell) for cell in cells) / partial
        assert summary.partial == dict(mean=pytest.approx(mean), cells=partial)
    else:
        assert summary.partial is None
    text = format_result(result)
    assert 'mPC  ' not in text and ('PARTIAL' in text) == bool(partial)


def test_no_rpc_of_a_model_that_finds_nothing():
    summary = make_result(GRID, clean=0.0).summary()
    assert summary.complete and summary.mPC > 0 and summary.rPC is None


def test_the_table_shows_what_was_measured():
    lines = format_result(make_result([*GRID, ('saturate', 2)], clean=0.5)).splitlines()
    cells = {line.split()[0]: line.split()[1:] for line in lines if line.startswith('  ')}
    assert set(cells) == {*BENCHMARK, 'saturate'}
    expected = [f'{100 * value("fog", s):.1f}' for s in SEVERITIES]
    assert cells['fog'][:5] == expected
    assert cells['saturate'] == ['-', f'{100 * value("saturate", 2):.1f}', '-', '-', '-', '-']
    mean = np.mean([value(*cell) for cell in GRID])
    assert lines[-3:] == ['P      50.0  (clean images)', f'mPC    {100 * mean:.1f}',
                          f'rPC    {200 * mean:.1f} %']


def test_saved_and_loaded_it_is_the_same(tmp_path):
    result = make_result(reversed(GRID), clean=0.5)
    file = tmp_path / 'new/folder/result.json'
    result.save(file)
    assert RobustnessResult.load(file) == result
    content = json.loads(file.read_text())
    assert list(content['cells']) == list(BENCHMARK)
    assert content['cells']['fog']['3'] == {'coco/bbox_mAP': value('fog', 3), 'other': None}
    assert content['summary']['mPC'] == result.summary().mPC
    # The order of evaluation leaves no trace.
    make_result(GRID, clean=0.5).save(tmp_path / 'forward.json')
    assert (tmp_path / 'forward.json').read_bytes() == file.read_bytes()


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / 'result.json'
    make_result(GRID[:1]).save(file)
    before = file.read_bytes()

    def fail(*args):
        raise OSError(28, 'no space')

    monkeypatch.setattr('os.replace', fail)
    with pytest.raises(UserError, match='result.json cannot be written .no space'):
        make_result(GRID[:2]).save(file)
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize('metrics', [{}, {'coco/bbox_mAP': float('nan')}, {'coco/segm_mAP': 0.5}])
def test_a_cell_without_the_metric(metrics):
    with pytest.raises(UserError, match='coco/bbox_mAP .* --metric'):
        make_result().add('fog', 1, metrics)


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda c: c.update(schema=2), 'expected schema 1, but found 2'),
        (lambda c: c.pop('seed'), 'seed is missing'),
        (lambda c: c.update(seed='0'), "seed is '0'"),
        (lambda c: c.update(num_images=True), 'num_images is True'),
        (lambda c: c.update(channel_order='gbr'), "channel_order is 'gbr'"),
        (lambda c: c.update(clean={}), 'clean lacks coco/bbox_mAP'),
        (lambda c: c['cells'].update(smoke={}), "cells has 'smoke'"),
        (lambda c: c['cells']['fog'].update({'6': {}}), "fog has severity '6'"),
        (lambda c: c['cells']['fog'].update({'3': None}), 'fog at severity 3 lacks'),
        (lambda c: c['cells']['fog']['3'].update(other='x'), 'fog at severity 3 are no numbers'),
        (lambda c: c['cells']['fog']['3'].update({'coco/bbox_mAP': None}), 'lacks coco/bbox_mAP'),
    ],
)
def test_damaged_files(tmp_path, change, message):
    file = tmp_path / 'result.json'
    make_result(GRID, clean=0.5).save(file)
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message) as error:
        RobustnessResult.load(file)
    assert str(file) in str(error.value)


@pytest.mark.parametrize('text', ['', '[]', '{"schema": 1', 'null'])
def test_files_of_another_kind(tmp_path, text):
    file = tmp_path / 'result.json'
    file.write_text(text)
    with pytest.raises(UserError, match=str(file)):
        RobustnessResult.load(file)
