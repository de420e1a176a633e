"""LoadImageFromFile: MMCV's results, and errors that name the file."""

import mmcv
import numpy as np
import pytest
from mmdet.registry import TRANSFORMS
from torch.utils.data import DataLoader, Dataset

from projects.dat.runtime.errors import UserError
from projects.dat.runtime.images import LoadImageFromFile
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


def _truncate(content):
    return content[:len(content) // 2]


BROKEN = {
    'truncated': _truncate,
    'end missing': lambda content: content[:-2],
    'zeros at the end': lambda content: _truncate(content) + bytes(len(content) // 2),
    'text': lambda content: b'not found',
    'empty': lambda content: b'',
}


@pytest.mark.parametrize('extension', ['.jpg', '.png'])
@pytest.mark.parametrize('damage', BROKEN.values(), ids=BROKEN)
def test_broken_file_names_itself(image, damage, extension):
    file = image.with_suffix(extension)
    mmcv.imwrite(mmcv.imread(str(image)), str(file))
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UserError, match=f'{file} is truncated or is no image'):
        LoadImageFromFile()(dict(img_path=str(file)))
    assert LoadImageFromFile(ignore_empty=True)(dict(img_path=str(file))) is None


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
