"""Result files: any set at any level, damage that is noticed, and what may be added to them."""

import json
from itertools import product

import pytest

from projects.dat.corruptions.names import BENCHMARK, SEVERITIES
from projects.dat.evaluation.results import CLEAN, Measurement, Result
from projects.dat.runtime.errors import UserError
from tests.evaluation.result_case import METRIC, make_identity, make_result

GRID = [CLEAN, *product(BENCHMARK, SEVERITIES)]


def test_saved_and_loaded_it_is_the_same(tmp_path):
    result = make_result()
    file = tmp_path / 'new/folder/result.json'
    result.save(file)
    assert Result.load(file) == result and list(result.cells) == GRID
    # The order of evaluation leaves no trace.
    backward = Result(result.identity, dict(reversed(result.cells.items())))
    backward.save(tmp_path / 'backward.json')
    assert (tmp_path / 'backward.json').read_bytes() == file.read_bytes()


def test_any_set_at_any_level(tmp_path):
    result = Result(make_identity(metric='accuracy/top1'))
    cells = [('pgd', 0.5), ('pgd', 4), ('coco_o', 'cartoon'), ('coco_o', 'sketch'), CLEAN,
             ('imagenet_r', 0)]
    for i, cell in enumerate(cells):
        result.add(cell, {'accuracy/top1': 0.1 * i, 'other': float('nan')}, 10 + i)
    result.save(tmp_path / 'r.json')
    loaded = Result.load(tmp_path / 'r.json')
    assert loaded == result and set(loaded.cells) == set(cells)
    assert loaded.value(('coco_o', 'cartoon')) == 0.2 and loaded.value(('coco_o', 'x')) is None
    assert loaded.cells['pgd', 4] == Measurement(11, {'accuracy/top1': 0.1, 'other': None})


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / 'result.json'
    make_result(corruptions=()).save(file)
    before = file.read_bytes()

    def fail(*args):
        raise OSError(28, 'no space')

    monkeypatch.setattr('os.replace', fail)
    with pytest.raises(UserError, match='result.json cannot be written .no space'):
        make_result().save(file)
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize('metrics', [{}, {METRIC: float('nan')}, {'coco/segm_mAP': 0.5}])
def test_a_cell_without_the_metric(metrics):
    with pytest.raises(UserError, match=f'{METRIC} .* --metric'):
        make_result().add(('fog', 1), metrics, 50)


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda c: c.update(schema=1), 'has schema 1, but this version reads schema 2: evaluate'),
        (lambda c: c.pop('identity'), 'identity is None'),
        (lambda c: c.pop('cells'), 'cells is None'),
        (lambda c: c['identity'].pop('checkpoint'), 'checkpoint is None'),
        (lambda c: c['identity'].update(metric=3), 'metric is 3'),
        (lambda c: c['identity'].update(packages=['numpy']), 'packages is'),
        (lambda c: c['identity']['packages'].update(numpy=1.2), 'numpy of packages is 1.2'),
        (lambda c: c['identity']['data'].update(coco_c=0), 'coco_c is 0'),
        (lambda c: c['identity']['data']['coco_c'].update(seed=True), 'seed of coco_c is True'),
        (lambda c: c['cells'].append(3), 'a cell is 3'),
        (lambda c: c['cells'][0].pop('set'), 'the set of a cell is None'),
        (lambda c: c['cells'][0].update(level=None), 'the level of brightness is None'),
        (lambda c: c['cells'][0].update(num_images='7'), 'number of images of brightness at level'),
        (lambda c: c['cells'][0].update(metrics=None), 'metrics of brightness at level 1 is None'),
        (lambda c: c['cells'][0]['metrics'].update(other='x'), "other of brightness at level 1 is"),
        (lambda c: c['cells'][0]['metrics'].update({METRIC: None}), f'level 1 lacks {METRIC}'),
        (lambda c: c['cells'][0]['metrics'].update(other=float('nan')), 'brightness .* is nan'),
        (lambda c: c['cells'][0].update(level=float('inf')), 'the level of brightness is inf'),
        (lambda c: c['cells'].append(c['cells'][0]), 'brightness at level 1 is there twice'),
    ],
)
def test_damaged_files(tmp_path, change, message):
    file = tmp_path / 'result.json'
    make_result().save(file)
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message) as error:
        Result.load(file)
    assert str(file) in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize('text', ['', '[]', '{"schema": 2', 'null'])
def test_files_of_another_kind(tmp_path, text):
    file = tmp_path / 'result.json'
    file.write_text(text)
    with pytest.raises(UserError, match=str(file)):
        Result.load(file)


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(packages={'numpy': '2.0.0', 'torch': '2.12.0'}),
         'version of numpy is 1.26.4 and 2.0.0, version of torch is 2.11.0 and 2.12.0'),
        (dict(seed=1), 'seed of coco_c is 0 and 1'),
        (dict(annotations_sha256='b' * 64), '_sha256 of coco_c is aaaaaaaa and bbbbbbbb'),
        (dict(metric='coco/segm_mAP'), 'metric is coco/bbox_mAP and coco/segm_mAP'),
        (dict(run=1), r'checkpoint is run0.pth \[00000000\] and run1.pth \[00000000\]'),
        (dict(config='d.py', config_sha256='1' * 64), r'config \(model, .* configs/c.py .* d.py'),
    ],
)
def test_something_else_is_not_added(tmp_path, changes, message):
    file = tmp_path / 'result.json'
    make_result().save(file)
    with pytest.raises(UserError, match=message) as error:
        Result.resume(file, make_identity(**changes))
    assert str(file) in str(error.value) and '--out' in str(error.value)


def test_packages_and_sets_that_only_one_run_uses_do_not_matter(tmp_path):
    file = tmp_path / 'result.json'
    assert Result.resume(file, make_identity()) == Result(make_identity())
    make_result().save(file)
    other = make_identity(
        checkpoint='moved/run0.pth', packages={'numpy': '1.26.4', 'timm': '1.0'},
        data={'imagenet_r': {'images_sha256': 'c' * 64}},
    )
    resumed = Result.resume(file, other)
    assert resumed.cells == make_result().cells
    assert list(resumed.identity.data) == ['coco_c', 'imagenet_r']
    resumed.save(file)
    with pytest.raises(UserError, match='images_sha256 of imagenet_r is cccccccc and dddddddd'):
        data = {'imagenet_r': {'images_sha256': 'd' * 64}}
        Result.resume(file, make_identity(data=data))
