"""Names, manifest and digests of a tree."""

import hashlib
import json
import os

import pytest

from projects.dat.corruptions.coco_c import tree
from projects.dat.runtime.errors import UserError
from tests.corruptions.coco_c.tree_case import start, write_annotations

MANIFEST = tree.make_manifest('0' * 64, 0, 'bgr', 'jpeg', 85)


@pytest.mark.parametrize(
    'name, image_format, target',
    [
        ('1.jpg', 'png', '1.png'),
        ('a/b/1.JPEG', 'jpeg', 'a/b/1.jpg'),
        ('x.y.png', 'jpeg', 'x.y.jpg'),
        ('no_ending', 'png', 'no_ending.png'),
        ('./a//1.tif', 'png', 'a/1.png'),
    ],
)
def test_target_name(name, image_format, target):
    assert tree.target_name(name, image_format) == target
    assert tree.target_name(target, image_format) == target


def test_all_but_the_endings_stays(tmp_path):
    content = {
        'info': {'x': 0.1},
        'images': [
            {'id': 7, 'file_name': 'a/1.jpg', 'license': 3},
            {'id': 'x', 'file_name': '2', 'é': None},
        ],
        'annotations': [{'bbox': [1.25, 2, 3e-7, 4]}],
        'extra': [],
    }
    file = write_annotations(tmp_path / 'a.json', content)
    source = tree.read_source(file, 'png')
    assert source.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    content['images'][0]['file_name'] = 'a/1.png'
    content['images'][1]['file_name'] = '2.png'
    assert json.loads(source.annotations()) == content


@pytest.mark.parametrize(
    'names, words',
    [
        (('a.jpg', 'b.jpg', 'a.jpg'), 'a.jpg and a.jpg .* both become a.png'),
        (('s/a.jpg', 's/a.png'), 's/a.jpg and s/a.png .* both become s/a.png'),
        (('./a.jpg', 'a.jpg'), './a.jpg and a.jpg .* both become a.png'),
        (('a\\b.jpg',), 'backslash'),
        (('a\nb.jpg',), 'control character'),
        (('../a.jpg',), 'leaves the image folder'),
    ],
)
def test_names_that_no_tree_can_hold(tmp_path, names, words):
    images = [{'id': i, 'file_name': name} for i, name in enumerate(names)]
    file = write_annotations(tmp_path / 'a.json', {'images': images})
    with pytest.raises(UserError, match=words) as error:
        tree.read_source(file, 'png')
    assert len(str(error.value).splitlines()) == 1


def test_manifest_round_trip(tmp_path):
    tree.create_manifest(tmp_path, MANIFEST, _scratch(tmp_path, 'a'))
    assert tree.read_manifest(tmp_path) == MANIFEST
    assert set(MANIFEST['packages']) == {'numpy', 'opencv', 'pillow', 'scipy'}
    assert not list((tmp_path / '.building/a').iterdir())


@pytest.mark.parametrize(
    'change, words',
    [
        (dict(schema=2), 'schema is'),
        (dict(annotations_sha256='abc'), 'annotations_sha256 is'),
        (dict(seed=-1), 'seed is'),
        (dict(seed=True), 'seed is'),
        (dict(channel_order='gbr'), 'channel_order is'),
        (dict(format='gif'), 'format is'),
        (dict(format=['png']), 'format is'),
        (dict(format='png'), 'quality is'),
        (dict(quality=None), 'quality is'),
        (dict(quality=101), 'quality is'),
        (dict(packages=[]), 'packages is'),
    ],
)
def test_wrong_manifest(tmp_path, change, words):
    (tmp_path / 'manifest.json').write_text(json.dumps({**MANIFEST, **change}))
    with pytest.raises(UserError, match=words):
        tree.read_manifest(tmp_path)


@pytest.mark.parametrize(
    'content, words',
    [('{', 'cannot be read'), ('[]', 'schema is missing'), (None, 'no COCO-C tree')],
)
def test_no_manifest(tmp_path, content, words):
    if content:
        (tmp_path / 'manifest.json').write_text(content)
    with pytest.raises(UserError, match=words):
        tree.read_manifest(tmp_path)


@pytest.mark.parametrize(
    'change, words',
    [
        (dict(seed=1), 'begun with seed 0, but this run has seed 1'),
        (dict(format='png', quality=None), 'begun with format jpeg, but this run has format png'),
        (dict(quality=90), 'begun with quality 85, but this run has quality 90'),
        (dict(channel_order='rgb'), 'channel order bgr, but this run has channel order rgb'),
        (dict(annotations_sha256='1' * 64), 'annotation file of digest 0{12}.* 1{12}'),
        (dict(packages={**MANIFEST['packages'], 'scipy': '0.1'}), 'run has scipy 0.1: name'),
    ],
)
def test_another_run_is_refused(tmp_path, change, words):
    tree.create_manifest(tmp_path, MANIFEST, _scratch(tmp_path, 'a'))
    with pytest.raises(UserError, match=words) as error:
        tree.check_manifest(tmp_path, {**MANIFEST, **change})
    assert len(str(error.value).splitlines()) == 1
    assert tree.check_manifest(tmp_path, MANIFEST)


def test_a_folder_of_something_else_is_refused(tmp_path):
    assert not tree.check_manifest(tmp_path / 'new', MANIFEST)
    assert not tree.check_manifest(tmp_path, MANIFEST)
    (tmp_path / 'thesis.tex').write_text('x')
    with pytest.raises(UserError, match='holds files but no manifest'):
        tree.check_manifest(tmp_path, MANIFEST)
    with pytest.raises(UserError, match='is a file'):
        tree.check_manifest(tmp_path / 'thesis.tex', MANIFEST)


def test_of_many_processes_with_other_seeds_one_wins(tmp_path):
    """And the tree has the winner's manifest."""
    def race(seed):
        try:
            wanted = {**MANIFEST, 'seed': seed}
            tree.create_manifest(tmp_path, wanted, _scratch(tmp_path, str(seed)))
        except UserError:
            os._exit(1)

    processes = [start(race, seed) for seed in range(8)]
    for process in processes:
        process.join()
    winners = [seed for seed, process in enumerate(processes) if process.exitcode == 0]
    assert winners == [tree.read_manifest(tmp_path)['seed']]


def test_manifest_without_hard_links(tmp_path, monkeypatch):
    def link(*_):
        raise PermissionError(1, 'Operation not permitted')

    monkeypatch.setattr(os, 'link', link)
    tree.create_manifest(tmp_path, MANIFEST, _scratch(tmp_path, 'a'))
    assert tree.read_manifest(tmp_path) == MANIFEST


def test_digests(tmp_path):
    digest = hashlib.sha256(b'x').hexdigest()
    (tmp_path / 'digests').mkdir()
    whole = tree.digest_line('fog/1/ä b.png', digest)
    (tmp_path / 'digests/0-of-2.sha256').write_bytes(whole + b'\0\0\0\n' + whole[:-4])
    (tmp_path / 'digests/1-of-2.sha256').write_bytes(tree.digest_line('fog/2/c.png', digest))
    assert tree.read_digests(tmp_path) == {'fog/1/ä b.png': digest, 'fog/2/c.png': digest}
    assert tree.read_digests(tmp_path / 'none') == {}


def _scratch(root, name):
    folder = root / '.building' / name
    folder.mkdir(parents=True)
    return folder
