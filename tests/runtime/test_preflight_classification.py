"""Mistakes in a classifier's config and data are found before a run, in one sentence."""

import shutil

import cv2
import numpy as np
import pytest
from mmengine.config import ConfigDict
from mmpretrain.datasets.custom import find_folders

from projects.dat.runtime import preflight
from projects.dat.runtime.errors import UserError
from projects.dat.runtime.preflight.folders import class_folders
from tests.training.coco_case import coco_config
from tests.training.folder_case import CLASSES, folder_config, write_folders, write_list


@pytest.fixture
def root(tmp_path):
    return write_folders(tmp_path / 'data')


@pytest.fixture
def cfg(root):
    return folder_config(root)


def _sentence(cfg, mode='train'):
    with pytest.raises(UserError) as caught:
        preflight.check(cfg, mode)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def _dataset(split='train', **options):
    return lambda cfg: cfg[f'{split}_dataloader'].dataset.update(options)


def _image_net(cfg):
    for split in ('train', 'val'):
        dataset = cfg[f'{split}_dataloader'].dataset
        dataset.update(type='ImageNet', split=dataset.pop('data_prefix'))


def _mixup(cfg):
    cfg.model.train_cfg = dict(augments=dict(type='Mixup', alpha=0.8))


def _smooth(cfg, number):
    cfg.model.head.loss = dict(type='LabelSmoothLoss', label_smooth_val=0.1, num_classes=number)


def _tasks(cfg):
    heads = dict(a=dict(type='LinearClsHead', num_classes=7, in_channels=64))
    cfg.model.head = dict(type='MultiTaskHead', task_heads=heads)


def _several(*changes):
    return lambda cfg: [change(cfg) for change in changes]


def _repeated(cfg):
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=inner)


NAMES_OF_CLASSES = dict(metainfo=dict(classes=['Cat', 'Dog', 'Owl']))
GOOD = {
    'as it is': lambda cfg: None,
    'repeated': _repeated,
    'names for the folders': _dataset(**NAMES_OF_CLASSES),
    'batch augments': _mixup,
    'label smoothing': lambda cfg: _smooth(cfg, 3),
    'a number that nothing uses': lambda cfg: cfg.data_preprocessor.update(num_classes=1000),
    'remote': _dataset(data_root='s3://bucket'),
    'another format': _dataset(type='CIFAR10', data_root='/nowhere'),
    'another library': _dataset('train', type='mmpretrain.CustomDataset'),
    'tasks of their own numbers': _tasks,
}


@pytest.mark.parametrize('change', GOOD.values(), ids=GOOD)
@pytest.mark.parametrize('mode', ['train', 'test'])
def test_good_configs_pass(cfg, change, mode):
    change(cfg)
    preflight.check(cfg, mode)


def test_good_lists_pass(cfg, root):
    for split in ('train', 'val'):
        write_list(root, split)
        _dataset(split, ann_file=f'{split}.txt')(cfg)
    preflight.check(cfg)


def test_check_changes_nothing(cfg):
    before = cfg.pretty_text
    preflight.check(cfg)
    assert cfg.pretty_text == before


BAD_CONFIGS = {
    'data root': (
        _dataset(data_root='/no/such'),
        ["data root '/no/such' of train_dataloader.dataset", '--data-root PATH']),
    'data root of a wrapped one': (
        _several(_dataset(data_root='/no/such'), _repeated), ['train_dataloader.dataset.dataset']),
    'image folder': (
        _dataset('val', data_prefix='valid'),
        ['image folder', 'data/valid', 'val_dataloader.dataset', '--data-root PATH']),
    'image folder as of detection': (
        lambda cfg: cfg.train_dataloader.dataset.update(data_prefix=dict(img='train')),
        ['train_dataloader.dataset.data_prefix has img, but MMPretrain looks for img_path']),
    'annotation file': (
        _dataset(ann_file='meta/train.txt'),
        ['annotation file', 'data/meta/train.txt', '--data-root PATH']),
    'folders above the classes': (
        _several(_dataset(data_prefix='.'), _dataset('val', data_prefix='.')),
        ['model.head.num_classes is 3', 'has 2 classes']),
    'one class too many for the head': (
        lambda cfg: cfg.model.head.update(num_classes=2),
        ['model.head.num_classes is 2', 'has 3 classes', '--cfg-options model.head.num_classes=3']),
    'all numbers of one cure': (
        _several(_mixup, lambda cfg: _smooth(cfg, 1000),
                 lambda cfg: cfg.model.head.update(num_classes=1000),
                 lambda cfg: cfg.data_preprocessor.update(num_classes=1000)),
        ['--cfg-options model.head.num_classes=3 model.head.loss.num_classes=3 '
         'data_preprocessor.num_classes=3']),
    'batch augments of other classes': (
        _several(_mixup, lambda cfg: cfg.data_preprocessor.update(num_classes=1000)),
        ['data_preprocessor.num_classes is 1000', '--cfg-options data_preprocessor.num_classes=3']),
    'batch augments of no number': (
        _several(_mixup, lambda cfg: cfg.data_preprocessor.pop('num_classes')),
        ['data_preprocessor.num_classes is None']),
    'batch augments of the model': (
        lambda cfg: cfg.model.update(data_preprocessor=dict(
            num_classes=5, batch_augments=dict(augments=[dict(type='Mixup', alpha=1.0)]))),
        ['model.data_preprocessor.num_classes is 5']),
    'batch augments beside other data': (
        _several(_mixup, lambda cfg: cfg.data_preprocessor.update(num_classes=9),
                 _dataset(type='CIFAR10'), _dataset('val', type='CIFAR10')),
        ['data_preprocessor.num_classes is 9, but model.head.num_classes is 3']),
    'loss': (lambda cfg: _smooth(cfg, 1000), ['model.head.loss.num_classes is 1000']),
    'top 5 of 3': (
        lambda cfg: cfg.val_evaluator.update(topk=(1, 5)),
        ['val_evaluator.topk is (1, 5)', '3 classes', '--cfg-options val_evaluator.topk=1']),
    'ImageNet': (
        _image_net,
        ['3 class folders (cat, dog, owl)', '1000 class names (tench', 'metainfo.classes of']),
    'class names': (
        _dataset(metainfo=dict(classes=['cat', 'dog'])), ['3 class folders', '2 class names']),
    'order of class names': (
        _dataset(metainfo=dict(classes=['owl', 'cat', 'dog'])),
        ['(owl, cat, dog)', 'another order', 'write cat, dog, owl']),
    'unknown split': (
        lambda cfg: cfg.train_dataloader.dataset.update(type='ImageNet', split='trainn'),
        ['train_dataloader.dataset is refused by MMPretrain', "'trainn'"]),
    'nowhere': (
        lambda cfg: [cfg.train_dataloader.dataset.pop(key) for key in ('data_root', 'data_prefix')],
        ['train_dataloader.dataset is refused by MMPretrain', 'must be specified']),
    'data of detection': (
        _dataset(type='mmdet.CocoDataset'), ['ImageClassifier is a classifier', 'CocoDataset']),
    'data of detection, unscoped': (
        _dataset(type='CocoDataset'),
        ['ImageClassifier is a classifier, but train_dataloader.dataset is CocoDataset']),
}


@pytest.mark.parametrize(('change', 'expected'), BAD_CONFIGS.values(), ids=BAD_CONFIGS)
def test_bad_config(cfg, change, expected):
    change(cfg)
    sentence = _sentence(cfg)
    for part in expected:
        assert part in sentence


@pytest.mark.parametrize('kind', ['CustomDataset', 'mmpretrain.ImageNet'])
def test_detector_on_folders(root, kind):
    cfg = coco_config(root)
    dataset = dict(cfg.train_dataloader.dataset, type=kind, data_prefix='train', ann_file='')
    cfg.train_dataloader.dataset = ConfigDict(dataset)
    sentence = _sentence(cfg)
    assert 'RetinaNet is a detector, but train_dataloader.dataset is' in sentence


def _empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def _text(file):
    file.with_suffix('.txt').write_text('')
    file.unlink()


BAD_FOLDERS = {
    'nothing': (lambda root: _empty(root / 'train'), ['no class folders', 'data/train']),
    'images without folders': (
        lambda root: [_empty(root / 'val'), (root / 'val/cat.png').write_bytes(b'')],
        ['no class folders', 'data/val of val_dataloader.dataset', 'val_dataloader.dataset.ann_f']),
    'an empty folder': (
        lambda root: _empty(root / 'train/dog'),
        ['data/train/dog of train_dataloader.dataset has no images', '.bmp, .jpeg, .jpg']),
    'other files': (
        lambda root: [_text(file) for file in list((root / 'val/owl').iterdir())],
        ['data/val/owl', 'has no images']),
    'hidden folder': (
        lambda root: [(root / split / '.cache').mkdir() for split in ('train', 'val')],
        ['data/train/.cache', 'has no images']),
    'class of val alone': (
        lambda root: shutil.copytree(root / 'val/cat', root / 'val/bee'),
        ['data/train lacks bee', 'must be the same', 'data/val']),
    'class of train alone': (
        lambda root: shutil.rmtree(root / 'val/dog'), ['data/val lacks dog']),
    'another name': (
        lambda root: (root / 'val/cat').rename(root / 'val/tabby'),
        ['data/train lacks tabby and', 'data/val lacks cat']),
    'truncated image': (
        lambda root: (root / 'val/cat/cat_1.png').write_bytes(
            (root / 'val/cat/cat_1.png').read_bytes()[:500]),
        ['val/cat/cat_1.png is truncated or is no image (500 bytes)']),
}


@pytest.mark.parametrize(('change', 'expected'), BAD_FOLDERS.values(), ids=BAD_FOLDERS)
def test_bad_folders(cfg, root, change, expected):
    change(root)
    sentence = _sentence(cfg)
    for part in expected:
        assert part in sentence


def test_images_without_labels(cfg, root):
    """As self-supervised training reads them."""
    _dataset(with_label=False)(cfg)
    preflight.check(cfg)
    _empty(root / 'train')
    assert 'has no images' in _sentence(cfg)


BAD_LISTS = {
    'label too large': (
        ['cat/cat_0.png 0', 'owl/owl_1.png 3'],
        ['go from 0 to 3, not from 0 to 2, for', '--cfg-options model.head.num_classes=4']),
    'label below 0': (['cat/cat_0.png -1'], ['go from -1 to -1, not from 0: correct']),
    'no label': (['cat/cat_0.png 0', 'cat/cat_1.png'], ["line 2 of", "'cat/cat_1.png'", 'label']),
    'a name for a label': (['cat/cat_0.png cat'], ["line 1 of", "'cat/cat_0.png cat'"]),
    'blank line': (['cat/cat_0.png 0', '', 'cat/cat_1.png 0'], ["line 2 of", "is ''"]),
    'empty': ([], ['line 1 of', "is ''"]),
    'missing image': (
        ['cat/cat_0.png 0', 'cat/cat_9.png 0'],
        ['data/train/cat/cat_9.png', 'does not exist', 'train_dataloader.dataset.data_prefix']),
    'parent': (['../val/cat/cat_0.png 0'], ["'../val/cat/cat_0.png'", 'leaves the image folder']),
    'absolute': (['/etc/passwd 0'], ["'/etc/passwd'", 'leaves the image folder']),
}


@pytest.mark.parametrize(('lines', 'expected'), BAD_LISTS.values(), ids=BAD_LISTS)
def test_bad_lists(cfg, root, lines, expected):
    write_list(root, 'train', lines)
    _dataset(ann_file='train.txt')(cfg)
    sentence = _sentence(cfg)
    assert 'data/train.txt' in sentence
    for part in expected:
        assert part in sentence


def test_empty_and_binary_lists(cfg, root):
    _dataset(ann_file='train.txt')(cfg)
    (root / 'train.txt').write_bytes(b'')
    assert 'lists no images' in _sentence(cfg)
    (root / 'train.txt').write_bytes(b'\xff\xfe\x00')
    assert 'cannot be read as text' in _sentence(cfg)


def test_list_without_labels_may_have_spaces(cfg, root):
    image = root / 'train/cat/cat_0.png'
    image.rename(image.with_name('a cat.png'))
    write_list(root, 'train', ['cat/a cat.png', 'dog/dog_1.png'])
    _dataset(ann_file='train.txt', with_label=False)(cfg)
    preflight.check(cfg)


def test_links_that_lead_out_are_refused(cfg, root, tmp_path):
    image = root / 'train/cat/cat_0.png'
    image.rename(tmp_path / 'outside.png')
    image.symlink_to(tmp_path / 'outside.png')
    write_list(root, 'train')
    _dataset(ann_file='train.txt')(cfg)
    assert "'cat/cat_0.png'" in _sentence(cfg)


def test_a_list_of_image_net_counts_by_the_head(cfg, root):
    """Its 1,000 names come with the class; the list has the labels."""
    for split in ('train', 'val'):
        write_list(root, split)
        _dataset(split, type='ImageNet', ann_file=f'{split}.txt')(cfg)
    preflight.check(cfg)


def test_class_folders_are_those_of_mmpretrain(cfg, root):
    for name in ('Zebra', '10', '9', '.cache'):
        (root / 'train' / name).mkdir()
    (root / 'train' / 'notes.txt').write_text('')
    found = class_folders(cfg.train_dataloader.dataset)
    assert found == find_folders(str(root / 'train'))[0] == sorted(found)
    assert set(found) == {*CLASSES, 'Zebra', '10', '9', '.cache'}
    with pytest.raises(UserError, match='the image folder .* of the data set does not exist'):
        class_folders(dict(type='CustomDataset', data_root=str(root), data_prefix='no'))


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('channels', [1, 3])
def test_deep_and_gray_images_pass(cfg, root, bits, channels):
    image = np.full((32, 40, channels), 2**bits // 3, dtype=f'uint{bits}')
    for file in root.rglob('*.png'):
        cv2.imwrite(str(file), image)
    preflight.check(cfg)
