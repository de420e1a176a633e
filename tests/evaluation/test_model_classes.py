import pytest
from mmengine.config import Config

from projects.dat.evaluation.model_classes import (
    WNIDS,
    has_imagenet_classes,
    is_classifier,
    labels_of,
    model_classes,
)
from projects.dat.runtime.errors import UserError
from tests.training.folder_case import CLASSES, folder_config, write_folders, write_list


def test_imagenets_classes():
    assert len(WNIDS) == len(set(WNIDS)) == 1000
    assert tuple(sorted(WNIDS)) == WNIDS and all(len(x) == 9 for x in WNIDS)
    # Known labels: tench, tabby cat, toilet tissue.
    assert (WNIDS[0], WNIDS[281], WNIDS[999]) == ('n01440764', 'n02123045', 'n15075141')


def test_a_model_of_1000_classes_needs_no_data(tmp_path):
    cfg = folder_config(tmp_path / 'missing')
    cfg.model.head.num_classes = 1000
    assert has_imagenet_classes(cfg) and model_classes(cfg) == WNIDS


def test_other_classes_are_the_folders_of_the_test_data(tmp_path):
    cfg = folder_config(write_folders(tmp_path))
    assert not has_imagenet_classes(cfg) and model_classes(cfg) == CLASSES
    wrapped = dict(type='RepeatDataset', times=2, dataset=cfg.test_dataloader.dataset)
    cfg.test_dataloader.dataset = wrapped
    assert model_classes(cfg) == CLASSES


def test_classes_that_nothing_names(tmp_path):
    cfg = folder_config(write_folders(tmp_path / 'data'))
    write_list(tmp_path / 'data', 'val')
    cfg.test_dataloader.dataset.ann_file = 'val.txt'
    with pytest.raises(UserError, match='found the list val.txt: test on class folders'):
        model_classes(cfg)
    with pytest.raises(UserError, match='does not exist: .*--data-root'):
        model_classes(folder_config(tmp_path / 'missing'))


@pytest.mark.parametrize(
    'model, expected',
    [
        (dict(type='ImageClassifier'), True),
        (dict(type='mmpretrain.ImageClassifier'), True),
        (dict(type='RetinaNet'), False),
        (dict(type='mmdet.RetinaNet'), False),
        (dict(type='Unheard'), False),
    ],
)
@pytest.mark.parametrize('scope', ['mmpretrain', 'mmdet'])
def test_the_task_is_the_models(model, scope, expected):
    assert is_classifier(Config(dict(default_scope=scope, model=model))) == expected


def test_labels_are_places_among_the_models_classes(tmp_path):
    for name in ('owl', 'cat'):
        (tmp_path / name).mkdir()
    (tmp_path / 'README.txt').touch()
    assert labels_of(tmp_path, CLASSES) == dict(cat=0, owl=2)


@pytest.mark.parametrize(
    'folders, message',
    [
        (None, 'does not exist: give the folder with the class folders'),
        ([], 'expected a folder for each class in .*, found none'),
        (['cat', 'emu'], "a folder such as 'emu', which is no class .* 3 classes .* cat, dog, "),
        (['emu', 'yak'], "2 folders such as 'emu'"),
    ],
)
def test_folders_of_other_classes(tmp_path, folders, message):
    root = tmp_path / 'root'
    if folders is not None:
        root.mkdir()
        for name in folders:
            (root / name).mkdir()
    with pytest.raises(UserError, match=message):
        labels_of(root, CLASSES)
