"""ImageNet-C: the authors' cut, pipelines for images that are cut already, trees and on the fly."""

import json
import shutil
import sys

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from PIL import Image
from torchvision.transforms import CenterCrop, Resize

from projects.dat.corruptions.crop import CropForImageNetC
from projects.dat.evaluation.imagenet_c import (
    ImageNetC,
    pipeline_for_crops,
)
from projects.dat.evaluation.results import CLEAN
from projects.dat.runtime.errors import UserError
from tests.evaluation.color_labels import write_case
from tools import build_coco_c

CELLS = [CLEAN, ('shot_noise', 2), ('frost', 4), ('jpeg_compression', 5)]


# The longer sides are such that halves are rounded up and down, and lengths are cut off.
@pytest.mark.parametrize(
    'size', [(300, 400), (375, 500), (500, 333), (343, 256), (200, 90), (256, 345), (225, 224)]
)
@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_the_cut_is_torchvisions_on_pillow(size, dtype):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    found = CropForImageNetC().transform(dict(img=image.astype(dtype), img_path='x'))
    expected = CenterCrop(224)(Resize(256)(Image.fromarray(image)))
    assert found['img'].dtype == dtype and found['img_path'] == 'x'
    np.testing.assert_array_equal(found['img'], np.asarray(expected))
    assert found['img_shape'] == found['ori_shape'] == (224, 224)


def test_an_image_of_the_right_size_is_not_cut():
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    assert CropForImageNetC().transform(dict(img=image))['img'] is image


PACK = dict(type='PackInputs')
LOAD = dict(type='LoadImageFromFile')
EDGE = dict(type='ResizeEdge', scale=256, edge='short', backend='pillow')


@pytest.mark.parametrize(
    'steps, expected',
    [
        ([LOAD, EDGE, dict(type='CenterCrop', crop_size=224), PACK], [LOAD, PACK]),
        ([LOAD, EDGE, dict(type='mmpretrain.CenterCrop', crop_size=(224, 224)), PACK],
         [LOAD, PACK]),
        ([LOAD, EDGE, dict(type='CenterCrop', crop_size=160), PACK],
         [LOAD, dict(type='Resize', backend='pillow', scale=(160, 160)), PACK]),
        ([LOAD, dict(EDGE, scale=36, interpolation='area'), dict(type='CenterCrop', crop_size=32),
          PACK],
         [LOAD, dict(type='Resize', backend='pillow', interpolation='area', scale=(32, 32)), PACK]),
        ([LOAD, dict(type='Resize', scale=(64, 64)), dict(type='Normalize', mean=[0], std=[1])],
         [LOAD, dict(type='Normalize', mean=[0], std=[1]), dict(type='Resize', scale=(64, 64))]),
        ([LOAD, dict(type='CenterCrop', crop_size=380, efficientnet_style=True,
                     interpolation='bicubic'), PACK],
         [LOAD, dict(type='Resize', interpolation='bicubic', scale=(380, 380)), PACK]),
    ],
)
def test_pipelines_for_images_that_are_cut_already(steps, expected):
    before = json.dumps(steps)
    assert pipeline_for_crops(steps) == expected
    assert json.dumps(steps) == before


def test_a_pipeline_without_a_size():
    with pytest.raises(UserError, match='such as CenterCrop .*, found LoadImageFromFile, PackInp'):
        pipeline_for_crops([LOAD, PACK])


@pytest.fixture(scope='module')
def case(tmp_path_factory):
    """A config of three classes, half of whose images have 224 px, and a tree of corruptions."""
    root = tmp_path_factory.mktemp('imagenet_c')
    rng = np.random.default_rng(0)
    for name in ('cat', 'dog', 'owl'):
        (root / 'data/val' / name).mkdir(parents=True)
        for i in range(2):
            small = rng.integers(0, 256, (14, 14, 3), np.uint8)
            size = (224, 224) if i else (260, 230)
            picture = cv2.resize(small, size, interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(root / f'data/val/{name}/{i}.png'), picture)
    patch = pytest.MonkeyPatch()
    for name, severity in CELLS[1:]:
        command = ['build_coco_c.py', '--images', root / 'data/val', '--out', root / 'tree',
                   '--corruptions', name, '--severities', severity, '--seed', 3, '--workers', 1]
        patch.setattr(sys, 'argv', list(map(str, command)))
        build_coco_c.main()
    patch.undo()
    config, _ = write_case(root, classes=3, side=224)
    return Config.fromfile(config), root / 'tree'


def samples(trial):
    """Inputs and labels by image."""
    with DATASETS.switch_scope_and_registry('mmpretrain') as registry:
        dataset = registry.build(trial.loader['dataset'])
    found = {}
    for i in range(len(dataset)):
        data = dataset[i]
        key = '/'.join(data['data_samples'].img_path.split('/')[-2:])
        found[key] = data['inputs'], data['data_samples'].gt_label.item()
    return found


def test_on_the_fly_equals_a_tree(case):
    cfg, tree = case
    fly = ImageNetC(CELLS, None, 3, 'rgb').trials(cfg)
    read = ImageNetC(CELLS, str(tree), None, 'rgb').trials(cfg)
    assert list(fly) == list(read) == CELLS
    clean = samples(fly[CLEAN])
    assert [label for _, label in clean.values()] == [0, 0, 1, 1, 2, 2]
    for cell in CELLS[1:]:
        expected, found = samples(read[cell]), samples(fly[cell])
        assert found.keys() == expected.keys() == clean.keys()
        for name, (inputs, label) in found.items():
            assert torch.equal(inputs, expected[name][0]) and label == expected[name][1]
            assert inputs.shape == (3, 224, 224) and label == clean[name][1]
            assert not torch.equal(inputs, clean[name][0])
    other = ImageNetC(CELLS, None, 3, 'bgr').trials(cfg)
    assert not torch.equal(samples(other['frost', 4])['cat/0.png'][0],
                           samples(fly['frost', 4])['cat/0.png'][0])


@pytest.mark.parametrize('manifest', [True, False])
@pytest.mark.parametrize(
    'spoil',
    [
        lambda folder: shutil.rmtree(folder / 'cat'),
        lambda folder: (folder / 'cat/0.png').unlink(),
        lambda folder: shutil.copy(folder / 'cat/0.png', folder / 'cat/7.png'),
    ],
)
def test_a_tree_has_the_images_of_the_config(case, tmp_path, spoil, manifest):
    """Of the authors', without a manifest, the class folders alone are looked at."""
    cfg, tree = case
    tree = shutil.copytree(tree, tmp_path / 'tree')
    spoil(tree / 'frost/4')
    if not manifest:
        (tree / 'manifest.json').unlink()
    read = ImageNetC(CELLS, str(tree), None, None)
    if manifest or not (tree / 'frost/4/cat').exists():
        with pytest.raises(UserError, match=r'frost/4 what .* [12] such as cat'):
            read.trials(cfg)
    else:
        assert read.trials(cfg).keys() == set(CELLS)


@pytest.mark.parametrize(
    'asked, manifest, message',
    [
        ((7, None), {}, 'was built with the seed 3, but 7 is asked for'),
        ((None, 'bgr'), {}, 'was built with the channel order rgb, but bgr'),
        ((None, None), dict(crop=None), 'has whole images'),
        ((0, None), None, 'leave --seed and --channel-order out'),
    ],
)
def test_trees_that_are_built_otherwise(case, tmp_path, asked, manifest, message):
    tree = shutil.copytree(case[1], tmp_path / 'tree')
    file = tree / 'manifest.json'
    content = json.loads(file.read_text())
    file.unlink() if manifest is None else file.write_text(json.dumps(content | manifest))
    with pytest.raises(UserError, match=message):
        ImageNetC(CELLS, str(tree), *asked)


@pytest.mark.parametrize(
    'cell, change, message',
    [
        (('fog', 1), lambda cfg: None, r'has no folder fog/1: give a tree .*zenodo\.org'),
        (('frost', 4), lambda cfg: cfg.test_dataloader.dataset.update(pipeline=[LOAD, PACK]),
         'such as CenterCrop'),
        (('frost', 4), lambda cfg: cfg.test_dataloader.dataset.update(ann_file='list.txt'),
         r'test_dataloader\.dataset to have a folder .*, found the list list\.txt'),
    ],
)
def test_trees_that_do_not_fit(case, cell, change, message):
    cfg, tree = Config(case[0].to_dict()), case[1]
    change(cfg)
    with pytest.raises(UserError, match=message):
        ImageNetC([cell], str(tree), None, None).trials(cfg)


def test_images_must_be_read_from_files(case):
    cfg = Config(case[0].to_dict())
    cfg.test_dataloader.dataset.pipeline[0].type = 'Resize'
    with pytest.raises(UserError, match='pipeline to begin with LoadImageFromFile, found Resize'):
        ImageNetC(CELLS, None, 0, 'rgb').trials(cfg)


def test_what_the_figures_depend_on(case, tmp_path):
    cfg, tree = case
    fly, read = (ImageNetC(CELLS, x, 3, 'rgb').data(cfg)['imagenet_c'] for x in (None, str(tree)))
    assert fly == read
    assert (fly['seed'], fly['channel_order'], fly['format']) == (3, 'rgb', 'png')
    shutil.copytree(tree, tmp_path / 'theirs')
    (tmp_path / 'theirs/manifest.json').unlink()
    theirs = ImageNetC(CELLS, str(tmp_path / 'theirs'), None, None).data(cfg)['imagenet_c']
    assert theirs == dict(images_sha256=fly['images_sha256'], format='as distributed')
