"""Annotation files, good and bad."""

import hashlib
import json

import pytest

from projects.dat.corruptions.coco_c.source import read_source
from projects.dat.runtime.errors import UserError
from tests.corruptions.coco_c.tree_case import write_annotations


def _images(*names):
    return {'images': [{'id': i, 'file_name': name} for i, name in enumerate(names)]}


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
    'content, words',
    [
        ([], 'names no images'),
        ({'annotations': []}, 'names no images'),
        ({'images': []}, 'names no images'),
        ({'images': {'1': 'a.jpg'}}, 'names no images'),
        ({'images': ['a.jpg']}, 'no "id" or no "file_name".*a.jpg'),
        ({'images': [{'file_name': 'a.jpg'}]}, 'no "id"'),
        ({'images': [{'id': None, 'file_name': 'a.jpg'}]}, 'no "id"'),
        ({'images': [{'id': 1}]}, 'no "file_name"'),
        ({'images': [{'id': 1, 'file_name': 'a.jpg'}] * 2}, 'several images with the id 1'),
        (_images('a.jpg', 'b.jpg', 'a.jpg'), 'a.jpg and a.jpg .* both become a.png'),
        (_images('s/a.jpg', 's/a.png'), 's/a.jpg and s/a.png .* both become s/a.png'),
        (_images('/etc/a.jpg'), 'leaves the image folder'),
        (_images('../a.jpg'), 'leaves the image folder'),
        (_images('a/../../b.jpg'), 'leaves the image folder'),
        (_images(''), 'leaves the image folder'),
        (_images('..'), 'leaves the image folder'),
        (_images('a\\b.jpg'), 'backslash'),
        (_images('a\nb.jpg'), 'control character'),
        (_images('a\0.jpg'), 'control character'),
        (_images('\ud800.jpg'), 'control character'),
    ],
)
def test_unfit_content(tmp_path, content, words):
    file = write_annotations(tmp_path / 'a.json', content)
    with pytest.raises(UserError, match=words) as error:
        read_source(file, 'png')
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize('data', [b'', b'{"images": [', b'\xff\xfe', b'[' * 100_000])
def test_no_json(tmp_path, data):
    (tmp_path / 'a.json').write_bytes(data)
    with pytest.raises(UserError, match='is not JSON'):
        read_source(tmp_path / 'a.json', 'png')


def test_no_file(tmp_path):
    for path in (tmp_path, tmp_path / 'none.json'):
        with pytest.raises(UserError, match='cannot be read'):
            read_source(path, 'png')
