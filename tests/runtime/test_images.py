"""LoadImageFromFile: MMCV's results, and errors that name the file."""

import json
import re

import cv2
import mmcv
import numpy as np
import pytest
from mmdet.registry import TRANSFORMS
from mmpretrain.registry import TRANSFORMS as CLASSIFICATION_TRANSFORMS
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from projects.dat.corruptions.coco_c.builder import build
from projects.dat.runtime.errors import UserError
from projects.dat.runtime.images import read_image
from projects.dat.runtime.load_image import LoadImageFromFile
from tests.training.coco_case import write_coco


@pytest.fixture
def image(tmp_path):
    return write_coco(tmp_path / 'data') / 'train2017' / '0.jpg'


@pytest.mark.parametrize('registry', [TRANSFORMS, CLASSIFICATION_TRANSFORMS])
def test_every_config_gets_it(image, registry):
    load = registry.build(dict(type='LoadImageFromFile', to_float32=True))
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


COLORS = np.array([[[200, 40, 90], [10, 220, 120]]], dtype=np.uint8).repeat(16, 0).repeat(16, 1)
KINDS = {
    'CMYK jpg': (lambda file: Image.fromarray(COLORS).convert('CMYK').save(file, quality=95), 4),
    'CMYK tif': (lambda file: Image.fromarray(COLORS).convert('CMYK').save(file), 0),
    '16-bit png': (lambda file: cv2.imwrite(file, COLORS[..., ::-1].astype(np.uint16) * 257), 0),
    'RGBA png': (lambda file: Image.fromarray(COLORS).convert('RGBA').save(file), 0),
}


@pytest.mark.parametrize('name', KINDS)
@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
def test_other_kinds_become_8_bits_of_bgr(tmp_path, name, backend):
    write, error = KINDS[name]
    file = str(tmp_path / f'a.{name.split()[-1]}')
    write(file)
    found = read_image(file, backend=backend)
    assert found.dtype == np.uint8
    assert np.abs(found[..., ::-1].astype(int) - COLORS).max() <= error


@pytest.mark.parametrize('extension', ['.png', '.tif'])
def test_deep_gray_is_scaled_or_refused(tmp_path, extension):
    deep = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    file = str(tmp_path / f'a{extension}')
    cv2.imwrite(file, deep)
    assert np.array_equal(read_image(file), (deep >> 8)[..., None].repeat(3, -1))
    with pytest.raises(UserError, match='more than 8 bits of gray, which Pillow'):
        read_image(file, backend='pillow')


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
