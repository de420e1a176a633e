"""Every mistake is found before a run, in one sentence that names it and its cure."""

import pytest

from projects.dat.runtime import preflight
from projects.dat.runtime.errors import UserError
from projects.dat.runtime.preflight.model import check_amp, check_input_size
from tests.training.coco_case import coco_config, rewrite, write_coco


@pytest.fixture
def root(tmp_path):
    return write_coco(tmp_path / 'data')


@pytest.fixture
def cfg(root):
    return coco_config(root)


def _sentence(cfg, mode='train'):
    with pytest.raises(UserError) as caught:
        preflight.check(cfg, mode)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def _wrapped(kind):
    def wrap(cfg):
        inner = cfg.train_dataloader.dataset
        key, inner = ('datasets', [inner]) if kind == 'ConcatDataset' else ('dataset', inner)
        wrapper = {'type': kind, key: inner}
        if kind == 'MultiImageMixDataset':
            wrapper['pipeline'] = [dict(type='PackDetInputs')]
        cfg.train_dataloader.dataset = wrapper
    return wrap


WRAPPERS = ['RepeatDataset', 'ConcatDataset', 'ClassBalancedDataset', 'MultiImageMixDataset']
GOOD = {
    'as it is': lambda cfg: None,
    'without val': lambda cfg: cfg.pop('val_dataloader'),
    'unknown data set': lambda cfg: cfg.train_dataloader.dataset.update(
        type='CityscapesLike', data_root='/nowhere'),
    'own loading': lambda cfg: cfg.train_dataloader.dataset.update(
        type='LVISV1Dataset', data_root='/nowhere'),
    'remote': lambda cfg: cfg.train_dataloader.dataset.update(
        data_root='s3://bucket', backend_args=dict(backend='petrel')),
    'evaluators in a list': lambda cfg: cfg.update(val_evaluator=[cfg.val_evaluator]),
    **{kind: _wrapped(kind) for kind in WRAPPERS},
}


@pytest.mark.parametrize('change', GOOD.values(), ids=GOOD)
@pytest.mark.parametrize('mode', ['train', 'test'])
def test_good_configs_pass(cfg, change, mode):
    change(cfg)
    preflight.check(cfg, mode)


def test_unknown_mode_is_a_programming_error(cfg):
    with pytest.raises(ValueError, match="'training'"):
        preflight.check(cfg, 'training')


BAD_CONFIGS = {
    'data root': (
        lambda cfg: cfg.train_dataloader.dataset.update(data_root='/no/such'),
        ["data root '/no/such'", 'train_dataloader.dataset', '--data-root PATH']),
    'image folder': (
        lambda cfg: cfg.train_dataloader.dataset.update(data_prefix=dict(img='train/')),
        ['image folder', 'data/train/', 'does not exist', '--data-root']),
    'annotation file': (
        lambda cfg: cfg.val_dataloader.dataset.update(ann_file='annotations/val.json'),
        ['annotation file', 'annotations/val.json', 'val_dataloader.dataset']),
    'evaluator without file': (
        lambda cfg: cfg.val_evaluator.update(ann_file='/no/val.json'),
        ['/no/val.json', 'val_evaluator.ann_file', '--data-root']),
    'evaluator of other data': (
        lambda cfg: cfg.val_evaluator.update(
            ann_file=cfg.val_evaluator.ann_file.replace('val2017', 'train2017')),
        ['instances_train2017.json', 'val_dataloader reads', '--cfg-options val_evaluator.ann_f']),
    'COCO missing': (
        lambda cfg: (cfg.train_dataloader.dataset.pop('metainfo'),
                     cfg.train_dataloader.dataset.update(data_root='some/coco')),
        ['mkdir -p some/coco', 'curl -LO', 'zips/train2017', 'annotations_trainval2017', 'unzip']),
    'no class known': (
        lambda cfg: cfg.train_dataloader.dataset.metainfo.update(classes=('cat', 'dog')),
        ['none of the 2 classes', 'cat, dog', 'ring, star', 'metainfo.classes', 'num_classes']),
    'a class missing': (
        lambda cfg: cfg.train_dataloader.dataset.metainfo.update(classes=('ring', 'stra')),
        ['classes stra are not in', 'ring, star']),
    'class order': (
        lambda cfg: cfg.train_dataloader.dataset.metainfo.update(classes=('star', 'ring')),
        ["class 0 is 'star'", "'ring' in", 'order']),
    'class twice': (
        lambda cfg: cfg.train_dataloader.dataset.metainfo.update(classes=('ring', 'ring')),
        ["'ring' appears 2 times in the config"]),
    'num_classes': (
        lambda cfg: cfg.model.bbox_head.update(num_classes=80),
        ['model.bbox_head.num_classes is 80', '2 classes',
         '--cfg-options model.bbox_head.num_classes=2']),
    'num_classes of a cascade': (
        lambda cfg: cfg.model.update(
            rpn_head=dict(num_classes=1),
            roi_head=dict(bbox_head=[dict(num_classes=2), dict(num_classes=3)])),
        ['model.roi_head.bbox_head.1.num_classes is 3']),
    'pretrained file': (
        lambda cfg: cfg.model.backbone.update(
            init_cfg=dict(type='Pretrained', checkpoint='/no/r18.pth')),
        ['model.backbone', '/no/r18.pth', '--cfg-options model.backbone.init_cfg=None']),
    'pretrained download': (
        lambda cfg: cfg.model.backbone.update(
            init_cfg=[dict(type='Pretrained', checkpoint='http://127.0.0.1:9/r18.pth')]),
        ['http://127.0.0.1:9/r18.pth', 'cannot be downloaded',
         '--cfg-options model.backbone.init_cfg=None']),
    'load_from': (
        lambda cfg: cfg.update(load_from='/no/epoch_1.pth'),
        ['checkpoint, /no/epoch_1.pth, does not exist', 'tools/train.py']),
}


@pytest.mark.parametrize(('change', 'expected'), BAD_CONFIGS.values(), ids=BAD_CONFIGS)
def test_bad_config(cfg, change, expected):
    change(cfg)
    sentence = _sentence(cfg)
    for part in expected:
        assert part in sentence


@pytest.mark.parametrize('kind', WRAPPERS)
def test_data_inside_wrappers_is_checked(cfg, kind):
    cfg.train_dataloader.dataset.data_root = '/no/such'
    _wrapped(kind)(cfg)
    inner = 'datasets.0' if kind == 'ConcatDataset' else 'dataset'
    assert f'train_dataloader.dataset.{inner} does not exist' in _sentence(cfg)


BAD_ANNOTATIONS = {
    'no images': (lambda c: c.pop('images'), ['no list "images"', 'cocodataset.org']),
    'categories a dict': (lambda c: c.update(categories={}), ['no list "categories"']),
    'image without size': (lambda c: c['images'][1].pop('width'), ['image 1', 'has no width']),
    'annotation without area': (
        lambda c: c['annotations'][2].pop('area'), ['annotation 3', 'has no area']),
    'annotation a number': (
        lambda c: c['annotations'].append(7), ['an annotation in', 'bbox']),
    'same id twice': (
        lambda c: c['annotations'][1].update(id=1), ['annotation id 1 appears 2 times']),
    'width a string': (
        lambda c: c['images'][1].update(width='96'), ['image 1', "the width '96', not a number"]),
    'area null': (
        lambda c: c['annotations'][2].update(area=None), ['annotation 3', 'the area None']),
    'box of three': (
        lambda c: c['annotations'][0].update(bbox=[1, 2, 3]), ['[1, 2, 3]', 'four numbers']),
    'box not finite': (
        lambda c: c['annotations'][0].update(bbox=[1, 2, 3, float('nan')]), ['four numbers']),
    'parent': (
        lambda c: c['images'][2].update(file_name='../val2017/0.jpg'),
        ["'../val2017/0.jpg'", 'leaves the image folder']),
    'missing image': (
        lambda c: c['images'][1].update(file_name='sub/9.jpg'),
        ['train2017/sub/9.jpg', 'does not exist', 'data_prefix.img']),
    'category name twice': (
        lambda c: c['categories'].append({'id': 9, 'name': 'star'}), ["'star' appears 2 times"]),
}


@pytest.mark.parametrize(('change', 'expected'), BAD_ANNOTATIONS.values(), ids=BAD_ANNOTATIONS)
def test_bad_annotations(cfg, root, change, expected):
    rewrite(root, change)
    sentence = _sentence(cfg)
    assert 'instances_train2017.json' in sentence
    for part in expected:
        assert part in sentence


def test_evaluation_needs_iscrowd_and_training_does_not(cfg, root):
    for split in ('train2017', 'val2017'):
        rewrite(root, lambda c: c['annotations'][0].pop('iscrowd'), split)
    sentence = _sentence(cfg)
    assert 'instances_val2017.json has no iscrowd' in sentence
    assert 'train2017' not in sentence


def test_test_file_may_come_without_annotations(cfg, root):
    rewrite(root, lambda c: c.pop('annotations'), 'val2017')
    preflight.check(cfg, 'test')
    assert 'no list "annotations"' in _sentence(cfg)


def test_links_that_lead_out_are_refused(cfg, root, tmp_path):
    (root / 'train2017/2.jpg').rename(tmp_path / 'outside.jpg')
    (root / 'train2017/2.jpg').symlink_to(tmp_path / 'outside.jpg')
    assert "'2.jpg'" in _sentence(cfg)


def test_extra_categories_may_be_left_out(cfg, root):
    rewrite(root, lambda c: c['categories'].insert(0, {'id': 5, 'name': 'cross'}))
    preflight.check(cfg)


def test_image_that_is_none(cfg, root):
    file = root / 'val2017' / '0.jpg'
    file.write_bytes(b'<html>404</html>')
    assert f'{file} is truncated or is no image' in _sentence(cfg)


@pytest.mark.parametrize('device', ['cpu', 'mps'])
def test_amp_without_gpu(cfg, monkeypatch, device):
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    monkeypatch.setattr('projects.dat.runtime.preflight.model.get_device', lambda: device)
    assert f'the device here is {device!r}: leave --amp out' in _sentence(cfg)
    monkeypatch.setattr('projects.dat.runtime.preflight.model.get_device', lambda: 'cuda')
    check_amp(cfg)


PAD = dict(type='Pad', size=(256, 256))
SQUASH = dict(type='Resize', scale=(384, 256), keep_ratio=False)
SIZES = {
    'padded batches': (128, [], None),
    'larger multiple': (512, [], None),
    'padding of 32': (32, [], 'does not fix them'),
    'fixed by Pad': (1, [PAD], None),
    'fixed by Resize': (1, [SQUASH], None),
    'cropped afterwards': (1, [PAD, dict(type='RandomCrop', crop_size=(200, 200))], 'not fix them'),
    'flipped afterwards': (1, [PAD, dict(type='RandomFlip', prob=0.5)], None),
    'wrong Pad': (1, [dict(type='Pad', size=(320, 256))], '(320, 256)'),
    'wrong Resize': (1, [dict(type='Resize', scale=(300, 300))], '(300, 300)'),
    'Pad to a divisor': (1, [dict(type='Pad', size_divisor=64)], '(64,)'),
}


@pytest.mark.parametrize(('divisor', 'steps', 'found'), SIZES.values(), ids=SIZES)
def test_input_size_of_efficientdet(cfg, divisor, steps, found):
    cfg.model.neck.type = 'BiFPN'
    cfg.model.data_preprocessor.pad_size_divisor = divisor
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.pipeline = loader.dataset.pipeline[:-1] + steps
    if found is None:
        check_input_size(cfg, ['train', 'val'])
    else:
        sentence = _sentence(cfg)
        assert found in sentence
        assert 'divisible by 128' in sentence
        assert '--cfg-options model.data_preprocessor.pad_size_divisor=128' in sentence


def test_batch_pad_of_efficientdet(cfg):
    cfg.model.neck.type = 'BiFPN'
    cfg.model.data_preprocessor.update(
        pad_size_divisor=128, batch_augments=[dict(type='BatchFixedSizePad', size=(320, 320))]
    )
    assert '(320, 320)' in _sentence(cfg)


def test_check_changes_nothing(cfg):
    before = cfg.pretty_text
    preflight.check(cfg)
    assert cfg.pretty_text == before
