"""Annotation files, good and bad, as the checks before a run and the COCO-C builder read them."""

import json

import pytest

from projects.dat.runtime.annotations import missing_images, read_annotations
from projects.dat.runtime.errors import UserError


def _names(*names):
    return {'images': [{'id': i, 'file_name': name} for i, name in enumerate(names)]}


@pytest.mark.parametrize(
    'content, words',
    [
        ([], 'holds a JSON list, not an object'),
        ({'annotations': []}, 'no list "images"'),
        ({'images': {'1': 'a.jpg'}}, 'no list "images"'),
        ({'images': []}, 'lists no images'),
        ({'images': ['a.jpg']}, 'an image in .* has no file_name, id'),
        ({'images': [{'file_name': 'a.jpg'}]}, 'image .* has no id'),
        ({'images': [{'id': 1}]}, 'image 1 .* has no file_name'),
        ({'images': [{'id': None, 'file_name': 'a.jpg'}]}, 'an id is a whole number or a string'),
        ({'images': [{'id': True, 'file_name': 'a.jpg'}]}, 'an id is a whole number or a string'),
        ({'images': [{'id': 1, 'file_name': 3}]}, 'image 1 .* has the file_name 3'),
        ({'images': [{'id': 1, 'file_name': 'a.jpg'}] * 2}, 'image id 1 appears 2 times'),
        *((_names(name), 'leaves the image folder') for name in (
            '/etc/a.jpg', '../a.jpg', 'a/../../b.jpg', 'a/../b.jpg', '..\\a.jpg', '\\a.jpg', '',
            '.', '..', 'a\0.jpg', '\ud800/a.jpg',
        )),
    ],
)
def test_unfit_content(tmp_path, content, words):
    file = tmp_path / 'a.json'
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=words) as error:
        read_annotations(file)
    assert 'a.json' in str(error.value) and len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize('data', [b'', b'{"images": [', b'\xff\xfe', b'[' * 100_000])
def test_no_json(tmp_path, data):
    (tmp_path / 'a.json').write_bytes(data)
    with pytest.raises(UserError, match='a.json cannot be read as JSON'):
        read_annotations(tmp_path / 'a.json')


def test_no_file(tmp_path):
    for path, reason in ((tmp_path, 'Is a directory'), (tmp_path / 'none', 'No such file')):
        with pytest.raises(UserError, match=f'cannot be read as JSON .{reason}'):
            read_annotations(path)


def test_missing_images_and_links(tmp_path):
    """Links within the folder are as good as files; the folder itself may be one."""
    inside = tmp_path / 'disk/images'
    (inside / 'sub').mkdir(parents=True)
    (tmp_path / 'images').symlink_to(inside)
    (inside / 'sub/a.jpg').touch()
    (inside / 'b.jpg').symlink_to(inside / 'sub/a.jpg')
    (inside / 'link').symlink_to(inside / 'sub')
    names = ('sub/a.jpg', './sub//a.jpg', 'b.jpg', 'link/a.jpg', 'c.jpg', 'no/a.jpg')
    assert missing_images(_names(*names), 'a.json', tmp_path / 'images') == ['c.jpg', 'no/a.jpg']
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/d.jpg').touch()
    (inside / 'd.jpg').symlink_to(tmp_path / 'out/d.jpg')
    (inside / 'out').symlink_to(tmp_path / 'out')
    for name in ('d.jpg', 'out/d.jpg', './out/none.jpg'):
        with pytest.raises(UserError, match=f"'{name}' in a.json leaves the image folder"):
            missing_images(_names('sub/a.jpg', name), 'a.json', tmp_path / 'images')
