"""Views that do not fit the model are found before a run, in one sentence."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import TRANSFORMS

from projects.dat.runtime import preflight
from projects.dat.runtime.errors import UserError
from tests.training.folder_case import folder_config, write_folders

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def root(tmp_path):
    return write_folders(tmp_path / 'data')


def selfsup_config(root, name='simsiam_small'):
    cfg = Config.fromfile(ROOT / f'configs/selfsup/{name}.py')
    cfg.train_dataloader.dataset.data_root = str(root)
    return cfg


def _views(cfg, number):
    dataset = cfg.train_dataloader.dataset
    step = next(step for step in dataset.pipeline if step.type == 'MultiView')
    if number == 0:
        dataset.pipeline = [dataset.pipeline[0], *step.transforms[0], dataset.pipeline[-1]]
    else:
        step.num_views = number


@pytest.mark.parametrize('name', ['simsiam_small', 'dat_simclr_small', 'dat_mocov3_small'])
def test_class_folders_and_flat_folders_pass(root, name):
    cfg = selfsup_config(root, name)
    preflight.check(cfg)
    cfg.train_dataloader.dataset.data_prefix = 'train/cat'
    preflight.check(cfg)


@pytest.mark.parametrize('name', ['simsiam_small', 'dat_simclr_small', 'mocov3_small'])
@pytest.mark.parametrize('number, found', [(0, 'none'), (1, '1'), ([1], '1')])
def test_too_few_views(root, name, number, found):
    cfg = selfsup_config(root, name)
    _views(cfg, number)
    with pytest.raises(UserError, match=f'expected 2 views .* found {found} in the pipeline of'):
        preflight.check(cfg)


def test_as_many_views_as_the_attack_names(root):
    cfg = selfsup_config(root, 'dat_simsiam_small')
    cfg.adversarial.views = (0, 2)
    with pytest.raises(UserError, match='expected 3 views .* found 2 in'):
        preflight.check(cfg)


def test_an_attack_that_names_no_views(root):
    cfg = selfsup_config(root, 'dat_simsiam_small')
    del cfg.adversarial['views']
    preflight.check(cfg)


def test_one_image_for_a_masked_autoencoder(root):
    """Plain training needs no views; an attack on one does."""
    cfg = selfsup_config(root)
    cfg.model = dict(
        type='MAE', backbone=dict(type='MAEViT', arch='b', img_size=96, patch_size=16))
    _views(cfg, 0)
    preflight.check(cfg)
    cfg.adversarial = Config.fromfile(ROOT / 'configs/_base_/attacks/dat.py').adversarial
    with pytest.raises(UserError, match='expected 2 views of each image for MAE, found none'):
        preflight.check(cfg)


def test_views_of_a_transform_of_the_users_own_are_not_counted(root):
    class Twice:
        def __call__(self, results):
            return results

    TRANSFORMS.register_module(name='Twice', module=Twice)
    try:
        cfg = selfsup_config(root)
        _views(cfg, 0)
        cfg.train_dataloader.dataset.pipeline.insert(1, dict(type='Twice'))
        preflight.check(cfg)
    finally:
        TRANSFORMS.module_dict.pop('Twice')


def test_a_classifier_with_views(root):
    cfg = folder_config(root)
    cfg.train_dataloader.dataset.pipeline = selfsup_config(root).train_dataloader.dataset.pipeline
    with pytest.raises(UserError, match='ImageClassifier is a classifier, but the pipel'):
        preflight.check(cfg)
