"""Killed and started again: nothing is lost and nothing made twice."""

import shutil

import cv2
import numpy as np
import pytest

from projects.dat.corruptions.coco_c import builder, tree
from tests.corruptions.coco_c.tree_case import (
    CELLS,
    blocked_copy,
    built,
    contents,
    identities,
    kill_group,
    recorded,
    sha256sum,
    start,
    unblock,
    wait_until,
    write_set,
)


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp('set'))


@pytest.fixture(scope='module')
def whole(source, tmp_path_factory):
    return built(source, tmp_path_factory.mktemp('whole') / 'tree')


@pytest.fixture
def blocked(source, tmp_path, monkeypatch):
    monkeypatch.setattr(builder, '_check_disk_space', lambda *_: None)  # it would block as well
    return blocked_copy(source, tmp_path)


@pytest.mark.parametrize('kill', ['group', 'parent'])
def test_killed_and_started_again(source, whole, blocked, tmp_path, kill):
    """Twice: what was there stays untouched, and the end is as if nothing had happened."""
    out = tmp_path / 'tree'
    after = {}
    for finished in (1, 10):
        before = after
        process = start(built, blocked, out, workers=2)
        wait_until(lambda: len(identities(out)) >= finished)  # noqa: B023
        if kill == 'group':
            kill_group(process)
        else:
            wait_until(lambda: len(_children(process.pid)) == 2)  # noqa: B023
            workers = _children(process.pid)
            process.kill()
            process.join()
            wait_until(lambda: not any(map(_runs, workers)))  # noqa: B023
        after = identities(out)
        assert all(after[file] == before[file] for file in before)
        assert finished <= len(after) < 18
    unblock(source, blocked)
    built(blocked, out)
    end = identities(out)
    assert all(end[file] == after[file] for file in after)
    assert contents(out) == contents(whole)
    assert recorded(out) == recorded(whole)
    assert sha256sum(out).returncode == 0


def _children(pid):
    """Ids of the worker processes."""
    with open(f'/proc/{pid}/task/{pid}/children') as file:
        return file.read().split()


def _runs(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def test_restart_with_other_ranks(source, whole, blocked, tmp_path):
    out = tmp_path / 'tree'
    ranks = [start(built, blocked, out, rank=rank, world=2) for rank in range(2)]
    wait_until(lambda: len(identities(out)) >= 6)
    for process in ranks:
        kill_group(process)
    before = identities(out)
    unblock(source, blocked)
    for rank in range(3):
        built(blocked, out, rank=rank, world=3)
    assert all(identities(out)[file] == before[file] for file in before)
    assert contents(out) == contents(whole)
    assert recorded(out) == recorded(whole)


def _cut_digest_line(out):
    file = out / 'digests/0-of-1.sha256'
    file.write_bytes(file.read_bytes()[:-9])


def _no_digests(out):
    (out / 'digests/0-of-1.sha256').write_bytes(b'')


def _no_annotations(out):
    (out / 'annotations.json').unlink()


def _half_file(out):
    (out / '.building/0-of-1').mkdir(parents=True)
    (out / '.building/0-of-1/123').write_bytes(b'half')


@pytest.mark.parametrize(
    'harm', [_cut_digest_line, _no_digests, _no_annotations, _half_file, lambda out: None]
)
def test_what_a_kill_leaves(source, whole, tmp_path, harm):
    """No image is made again, and nothing else is missing in the end."""
    out = shutil.copytree(whole, tmp_path / 'tree')
    harm(out)
    before = identities(out)
    built(source, out)
    assert identities(out) == before
    assert contents(out) == contents(whole)
    assert recorded(out) == recorded(whole)


@pytest.mark.parametrize('image_format, quality', [('png', None), ('jpeg', 80)])
@pytest.mark.parametrize('keep', [0, 300, -20])
def test_a_file_without_digest_that_is_not_whole(source, tmp_path, image_format, quality, keep):
    """As a power cut leaves it: it is made again, the whole ones are not."""
    options = dict(image_format=image_format, quality=quality)
    out = built(source, tmp_path / 'tree', **options)
    good, lines = contents(out), recorded(out)
    broken = out / 'contrast/5' / tree.target_name('2.png', image_format)
    broken.write_bytes(broken.read_bytes()[:keep])
    _no_digests(out)
    before = identities(out)
    built(source, out, **options)
    after = identities(out)
    assert [file for file in before if after[file] != before[file]] == [broken]
    assert contents(out) == good and recorded(out) == lines


def test_a_deleted_file_comes_back(source, whole, tmp_path):
    out = shutil.copytree(whole, tmp_path / 'tree')
    (out / 'contrast/5/sub/1.png').unlink()
    built(source, out)
    assert contents(out) == contents(whole)
    assert recorded(out) == recorded(whole)


def test_a_deleted_file_whose_source_changed(whole, tmp_path):
    source = write_set(tmp_path)
    out = shutil.copytree(whole, tmp_path / 'tree')
    (out / 'contrast/5/sub/1.png').unlink()
    cv2.imwrite(str(source[0] / 'sub/1.jpg'), np.zeros((40, 48, 3), np.uint8))
    report = builder.build(*source, out, CELLS)
    assert report.failures == {
        'sub/1.jpg': [f'{source[0]}/sub/1.jpg has changed since the tree was begun']
    }
    assert report.cells == 17 and recorded(out) == recorded(whole)
