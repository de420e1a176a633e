import hashlib

import pytest
from mmengine.config import Config

from projects.dat.evaluation.test_images import (
    annotations_sha256,
    build_datasets,
    clean_loader,
    datasets_of,
    images_sha256,
)
from projects.dat.runtime.errors import UserError
from tests.training.folder_case import folder_config, write_folders, write_list


@pytest.fixture
def cfg(tmp_path):
    return folder_config(write_folders(tmp_path / 'data'))


def test_a_copy_of_the_loader(cfg):
    cfg.test_dataloader.persistent_workers = True
    before = Config(cfg.to_dict())
    loader = clean_loader(cfg)
    assert loader['persistent_workers'] is False
    loader['dataset']['pipeline'].clear()
    assert cfg.test_dataloader == before.test_dataloader


def test_data_sets_inside_wrappers(cfg):
    leaf = cfg.test_dataloader.dataset
    cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[leaf, leaf])
    assert [path for path, _ in datasets_of(cfg)] == [
        'test_dataloader.dataset.datasets.0', 'test_dataloader.dataset.datasets.1'
    ]
    assert [len(dataset) for dataset in build_datasets(cfg)] == [6, 6]


def test_the_hash_of_images_without_a_list(cfg, tmp_path):
    lines = [f'{x}/{x}_{i}.png {label}\n' for label, x in enumerate(('cat', 'dog', 'owl'))
             for i in range(2)]
    expected = hashlib.sha256(''.join(lines).encode()).hexdigest()
    assert images_sha256(cfg) == expected
    # It does not matter where they are, but which.
    (tmp_path / 'data').rename(tmp_path / 'moved')
    cfg.test_dataloader.dataset.data_root = str(tmp_path / 'moved')
    assert images_sha256(cfg) == expected
    next((tmp_path / 'moved/val/owl').iterdir()).unlink()
    assert images_sha256(cfg) != expected


def test_the_hash_of_a_list_is_that_of_its_bytes(cfg, tmp_path):
    write_list(tmp_path / 'data', 'val')
    cfg.test_dataloader.dataset.ann_file = 'val.txt'
    content = (tmp_path / 'data/val.txt').read_bytes()
    expected = hashlib.sha256(content).hexdigest()
    assert images_sha256(cfg) == annotations_sha256([cfg.test_dataloader.dataset]) == expected
    (tmp_path / 'data/val.txt').unlink()
    with pytest.raises(UserError, match=r'val.txt cannot be read .*--data-root PATH'):
        images_sha256(cfg)
