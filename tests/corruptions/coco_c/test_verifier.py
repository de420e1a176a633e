"""What verification finds."""

import shutil

import pytest

from projects.dat.corruptions.coco_c.verifier import verify
from projects.dat.runtime.errors import UserError
from tests.corruptions.coco_c.tree_case import CELLS, built, contents, sha256sum, write_set


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp('set')
    return built(write_set(root), root / 'tree')


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / 'tree')


@pytest.mark.parametrize('workers', [1, 4])
def test_a_right_tree(whole, workers):
    report = verify(whole, workers=workers)
    assert report.problems == {} and report.files == 19
    assert set(report.cells) == set(CELLS)


def _flip_a_bit(out):
    data = bytearray((out / 'contrast/5/2.png').read_bytes())
    data[60] ^= 1
    (out / 'contrast/5/2.png').write_bytes(data)


def _forget(out):
    file = out / 'digests/0-of-1.sha256'
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b''.join(line for line in lines if b'contrast/5/2.png' not in line))


def _write(name):
    def harm(out):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(b'x')
    return harm


@pytest.mark.parametrize(
    'harm, path, problem',
    [
        (lambda out: (out / 'contrast/5/2.png').unlink(), 'contrast/5/2.png', 'missing'),
        (_flip_a_bit, 'contrast/5/2.png', 'changed'),
        (_write('contrast/5/2.png'), 'contrast/5/2.png', 'changed'),
        (_forget, 'contrast/5/2.png', 'without a digest'),
        *((_write(name), name, 'unexpected') for name in (
            'contrast/5/7.png', 'contrast/5/2.jpg', 'contrast/5/sub/2.png', 'contrast/6/2.png',
            'contrast/2.png', 'haze/1/2.png', 'notes.txt', 'digests/x',
        )),
    ],
)
def test_one_thing_is_wrong(copy, harm, path, problem):
    harm(copy)
    assert verify(copy, workers=2).problems == {path: problem}
    if problem in ('missing', 'changed'):
        run = sha256sum(copy)
        assert run.returncode == 1 and f'{path}: FAILED' in run.stdout


def test_what_a_killed_build_left_is_not_wrong(copy):
    _write('.building/0-of-1/77')(copy)
    assert not verify(copy, workers=2).problems


def test_changed_annotations(copy):
    text = (copy / 'annotations.json').read_text()
    (copy / 'annotations.json').write_text(text.replace('2024', '2025'))
    assert verify(copy).problems == {'annotations.json': 'changed'}


def test_cells_that_were_asked_for(copy):
    report = verify(copy, [CELLS[0], ('fog', 2)])
    assert report.files == 13
    assert len(report.problems) == 6 and set(report.problems.values()) == {'missing'}
    assert all(path.startswith('fog/2/') for path in report.problems)


def test_nothing_to_verify(copy, tmp_path):
    with pytest.raises(UserError, match='no COCO-C tree'):
        verify(tmp_path)
    for name, _ in CELLS:
        shutil.rmtree(copy / name)
    with pytest.raises(UserError, match='no images yet'):
        verify(copy)
    (copy / 'annotations.json').unlink()
    with pytest.raises(UserError, match='annotations.json cannot be read'):
        verify(copy)


def test_verification_changes_nothing(whole):
    before = contents(whole)
    verify(whole)
    assert contents(whole) == before
