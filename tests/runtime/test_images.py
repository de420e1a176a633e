"""LoadImageFromFile: MMCV's results, and errors that name the file."""

import json
import re

import cv2
import mmcv
import numpy as np
import pytest
from mmdet.registry import TRANSFORMS
from torch.utils.data import DataLoader, Dataset

from projects.dat.corruptions.coco_c.builder import build
from projects.dat.runtime.errors import UserError
from projects.dat.runtime.images import LoadImageFromFile, read_image
from tests.training.coco_case import write_coco


@pytest.fixture
def image(tmp_path):
    return write_coco(tmp_path / 'data') / 'train2017' / '0.jpg'


def test_detection_configs_get_it(image):
    load = TRANSFORMS.build(dict(type='LoadImageFromFile', to_float32=True))
    assert type(load) is LoadImageFromFile
    results = load(dict(img_path=str(image)))
    expected = mmcv.transforms.LoadImageFromFile(to_float32=True)(dict(img_path=str(image)))
    assert results.keys() == expected.keys()
    assert results['img'].dtype == np.float32
    assert np.array_equal(results['img'], expected['img'])
    assert results['img_shape'] == results['ori_shape'] == (64, 96)


def _zeros(content, start):
    return content[:start] + bytes(len(content[start:]))


FORMATS = {
    'jpg': ('.jpg', []),
    'progressive jpg': ('.jpg', [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
    'png': ('.png', []),
}
BROKEN = {
    'half': lambda content: content[:len(content) // 2],
    'last bytes missing': lambda content: content[:-2],
    'last part missing': lambda content: content[:-12],  # a PNG's IEND
    'half zeros': lambda content: _zeros(content, len(content) // 2),
    'last part zeros': lambda content: _zeros(content, -12),
    'text': lambda content: b'not found',
    'empty': lambda content: b'',
}


def _loaded(file):
    assert LoadImageFromFile(ignore_empty=True)(dict(img_path=str(file))) is None
    with pytest.raises(UserError) as caught:
        LoadImageFromFile()(dict(img_path=str(file)))
    return str(caught.value)


def _built(file):
    annotations = file.with_name('set.json')
    annotations.write_text(json.dumps({'images': [{'id': 1, 'file_name': file.name}]}))
    report = build(file.parent, annotations, file.parent / 'tree', [('contrast', 1)])
    assert report.cells == 0 and not list(file.parent.glob('tree/contrast/1/*'))
    return report.failures[file.name][0]


@pytest.mark.parametrize('read', [_loaded, _built])
@pytest.mark.parametrize(('extension', 'options'), FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize('damage', BROKEN.values(), ids=BROKEN)
def test_broken_file_names_itself(image, tmp_path, damage, extension, options, read):
    file = tmp_path / f'broken{extension}'
    content = cv2.imencode(extension, cv2.imread(str(image)), options)[1].tobytes()
    file.write_bytes(damage(content))
    assert re.match(rf'{file} is truncated or is no image \(\d+ bytes\): replace', read(file))


@pytest.mark.parametrize(('extension', 'options'), FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize('tail', [bytes(4096), b'<!-- from a server -->'])
def test_what_comes_after_the_end_of_an_image_is_harmless(
    image, tmp_path, extension, options, tail
):
    content = cv2.imencode(extension, cv2.imread(str(image)), options)[1].tobytes()
    for name, data in (('a', content), ('b', content + tail)):
        (tmp_path / f'{name}{extension}').write_bytes(data)
    a, b = (read_image(str(tmp_path / f'{name}{extension}')) for name in 'ab')
    assert np.array_equal(a, b)


def test_missing_file_names_itself(tmp_path):
    with pytest.raises(UserError, match='gone.jpg cannot be read'):
        LoadImageFromFile()(dict(img_path=str(tmp_path / 'gone.jpg')))


class _Images(Dataset):
    def __init__(self, path):
        self.path = path

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return LoadImageFromFile()(dict(img_path=self.path))


def test_error_keeps_its_type_through_a_worker(tmp_path):
    with pytest.raises(UserError, match='gone.jpg cannot be read'):
        next(iter(DataLoader(_Images(str(tmp_path / 'gone.jpg')), num_workers=1)))
