"""Annotation files, good and bad."""

import hashlib
import json

import pytest

from projects.dat.corruptions.coco_c.source import read_source
from projects.dat.runtime.errors import UserError
from tests.corruptions.coco_c.tree_case import write_annotations


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
    source = read_source(file, 'png')
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
        read_source(file, 'png')
    assert len(str(error.value).splitlines()) == 1
