"""From a config with a fragment to a model under attack."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import mmdet
import mmpretrain
import pytest
import torch
from mmdet.apis import DetInferencer, init_detector
from mmdet.models import DetDataPreprocessor
from mmengine.config import Config
from mmengine.registry import MODELS, RUNNERS, init_default_scope
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from projects.dat.runtime.errors import UserError
from projects.dat.training import AdversarialDetDataPreprocessor, AdversarialRunner, SplitBN
from projects.dat.training.prepare import prepare_model
from projects.dat.training.runner import pad_values, settings_of
from projects.dat.training.split_bn import split_batch_norms
from tests.training.coco_case import coco_config, write_coco

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
FRAGMENTS = [
    'advprop', 'dat', 'dat_flip', 'dat_released', 'det_advprop', 'pgd', 'random_tokens',
    'reconstruction',
]
THAW = {'model.backbone.norm_eval': False}


def leaf(folder, base, fragment='dat', text=''):
    """A config file that inherits a fragment."""
    fragment = CONFIGS / f'_base_/attacks/{fragment}.py'
    file = folder / 'leaf.py'
    file.write_text(f'_base_ = [{str(base)!r}, {str(fragment)!r}]\n{text}')
    return file


@pytest.fixture
def case(tmp_path):
    """A plain config file over a tiny data set."""
    coco_config(write_coco(tmp_path / 'coco')).dump(tmp_path / 'plain.py')
    return tmp_path


def build(name):
    init_default_scope('mmdet')
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    if 'init_cfg' in cfg.model.backbone:
        cfg.model.backbone.init_cfg = None
    return MODELS.build(cfg.model)


@pytest.mark.parametrize('name', ['efficientdet_512', 'retinanet_r18_512', 'rtmdet_tiny_512'])
def test_every_batch_norm_that_trains_splits_and_the_weights_stay(name):
    plain = build(name)
    keys = list(plain.state_dict())
    plain.train()
    training = [m for m in plain.modules() if isinstance(m, _BatchNorm) and m.training]
    model = prepare_model(plain)
    assert isinstance(model.data_preprocessor, AdversarialDetDataPreprocessor)
    assert sum(isinstance(m, SplitBN) for m in model.modules()) == len(training) > 0
    assert list(model.state_dict()) == keys


@pytest.mark.parametrize(
    'base',
    [
        'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py',
        'mmdet::yolox/yolox_tiny_8xb8-300e_coco.py',
        'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
        'mmpretrain::resnet/resnet50_8xb32_in1k.py',
        'mmpretrain::simsiam/simsiam_resnet50_8xb32-coslr-100e_in1k.py',
    ],
)
@pytest.mark.parametrize('fragment', FRAGMENTS)
def test_any_config_takes_any_fragment(tmp_path, base, fragment):
    """The config stays as it is, but for the two keys of the fragment."""
    plain = Config.fromfile(leaf(tmp_path, base).with_name('leaf.py'))
    cfg = Config.fromfile(leaf(tmp_path, base, fragment))
    assert cfg.runner_type == 'AdversarialRunner'
    for key in plain:
        if key not in ('runner_type', 'adversarial'):
            assert cfg[key] == plain[key]
    assert RUNNERS.get('AdversarialRunner') is AdversarialRunner


def run(command, cwd, **environment):
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', **environment}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def tool_of(package):
    return Path(package.__file__).parent / '.mim/tools/train.py'


def test_mmdetections_own_command_trains_adversarially(case):
    """Run as a process, from a folder that does not know this project."""
    file = leaf(case, './plain.py', text='adversarial = dict(log_interval=1)\n')
    command = [sys.executable, tool_of(mmdet), file, '--work-dir', case / 'run']
    result = run(command, case)
    assert result.returncode == 0, result.stderr[-3000:]
    (log,) = (case / 'run').glob('*/*.log')
    assert re.search(r'attack/token_change: 0\.\d*[1-9]', log.read_text())
    checkpoint = torch.load(case / 'run/iter_2.pth', weights_only=True)
    assert 'DiscreteAttack' in checkpoint['adversarial_training']['method']
    # What the run saved trains alike again, and serves the plain model.
    saved = Config.fromfile(case / 'run/leaf.py')
    assert saved.runner_type == 'AdversarialRunner' and 'adversarial' in saved
    assert saved.model.data_preprocessor.type == 'DetDataPreprocessor'
    for config in (file, case / 'run/leaf.py'):
        model = init_detector(str(config), str(case / 'run/iter_2.pth'), device='cpu')
        assert type(model.data_preprocessor) is DetDataPreprocessor
        for key, value in model.state_dict().items():
            assert torch.equal(value, checkpoint['state_dict'][key]), key
    inferencer = DetInferencer(str(file), str(case / 'run/iter_2.pth'), device='cpu')
    image = str(case / 'coco/val2017/0.jpg')
    assert len(inferencer(image)['predictions'][0]['scores']) <= 5


CLASSIFIER = """
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=18, stem_channels=8, base_channels=8),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=64,
              loss=dict(type='CrossEntropyLoss')))
data_preprocessor = dict(num_classes=2, mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True)
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_prefix='images', pipeline=[
        dict(type='LoadImageFromFile'), dict(type='Resize', scale=64), dict(type='PackInputs')]))
train_cfg = dict(by_epoch=True, max_epochs=1)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
default_scope = 'mmpretrain'
"""


def test_mmpretrains_own_command_trains_adversarially(case):
    for i, name in enumerate(('a', 'b', 'a', 'b')):
        (case / 'images' / name).mkdir(parents=True, exist_ok=True)
        source = case / f'coco/train2017/{i % 3}.jpg'
        (case / 'images' / name / f'{i}.jpg').write_bytes(source.read_bytes())
    (case / 'classifier.py').write_text(CLASSIFIER)
    file = leaf(case, './classifier.py')
    command = [sys.executable, tool_of(mmpretrain), file, '--no-persistent-workers']
    result = run([*command, '--work-dir', case / 'run'], case)
    assert result.returncode == 0, result.stderr[-3000:]
    (checkpoint,) = (case / 'run').glob('*.pth')
    saved = torch.load(checkpoint, weights_only=True)
    assert 'DiscreteAttack' in saved['adversarial_training']['method']


def test_a_mistake_in_mmdetections_own_command_is_one_sentence(case):
    file = leaf(case, './plain.py', text="adversarial = dict(attack=dict(alhpa=1))\n")
    result = run([sys.executable, tool_of(mmdet), file, '--work-dir', case / 'run'], case)
    assert result.returncode == 2
    (line,) = [line for line in result.stderr.splitlines() if 'error' in line]
    assert "adversarial.attack has the argument 'alhpa'" in line and "mean 'alpha'" in line
    assert 'Traceback' not in result.stderr
    assert len(result.stdout) < 500  # said before the configuration is printed


@pytest.mark.parametrize('write, said', [
    (lambda file: torch.save(dict(state_dict=subprocess.run), file), 'is refused for safety'),
    (lambda file: file.write_bytes(bytes(9)), 'cannot be read'),
])
def test_checkpoints_that_cannot_be_read_are_one_sentence(case, write, said):
    cfg = Config.fromfile(leaf(case, case / 'plain.py'))
    cfg.work_dir = str(case / 'run')
    write(case / 'bad.pth')
    with pytest.raises(UserError, match=said) as caught:
        RUNNERS.build(cfg).load_checkpoint(str(case / 'bad.pth'))
    assert 'weights_only' not in str(caught.value)


def test_a_plain_runner_refuses_to_train_it(case):
    cfg = Config.fromfile(leaf(case, './plain.py', text=f'work_dir = {str(case / "run")!r}\n'))
    runner = Runner.from_cfg(cfg)
    with pytest.raises(UserError, match='the config has the key adversarial, which Runner would'):
        runner.train()
    runner.test()  # evaluation is plain in any case


def test_a_config_without_the_key_is_refused(case):
    cfg = Config.fromfile(case / 'plain.py')
    cfg.runner_type = 'AdversarialRunner'
    with pytest.raises(UserError, match='needs the key adversarial'):
        RUNNERS.build(cfg)


@pytest.mark.parametrize(
    'options, named',
    [
        ({'assmebly': 'replace'}, "did you mean 'assembly'"),
        ({'assembly': 'mix'}, "got 'mix'"),
        ({'share': 2}, 'share'),
        ({'split_bn': 'both'}, "got 'both'"),
        ({'attack.controller': {'target': 4}}, 'target must lie between 0 and 1'),
        ({'keep_bn': 3}, 'adversarial.keep_bn'),
        ({'share': 'half'}, 'share must be a number'),
        ({'assembly': 'replace', 'share': 0.5, '': None}, 'leaves none of a batch of 1'),
    ],
)
def test_mistakes_are_said_before_anything_is_built(case, options, named):
    cfg = Config.fromfile(leaf(case, './plain.py'))
    if options.pop('', 0) is None:
        cfg.train_dataloader.batch_size = 1
    cfg.merge_from_dict({f'adversarial.{key}': value for key, value in options.items()})
    cfg.work_dir = str(case / 'run')
    with pytest.raises(UserError, match=named):
        RUNNERS.build(cfg)
    assert not (case / 'run').exists()


class NormEval(nn.Sequential):
    norm_eval = True

    def train(self, mode=True):
        super().train(mode)
        return self.eval() if mode else self


def model_of(**children):
    model = nn.Module()
    model.data_preprocessor = DetDataPreprocessor()
    for name, child in children.items():
        setattr(model, name, child)
    return model


def test_auxiliary_batch_norms_must_train():
    backbone = NormEval(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    backbone.frozen_stages = 1
    model = model_of(backbone=backbone, neck=nn.BatchNorm2d(4))
    cure = 'model.backbone.norm_eval=False model.backbone.frozen_stages=-1'
    with pytest.raises(UserError, match=f'1 such as backbone.1 are frozen.*{cure}$'):
        prepare_model(model, split_bn='aux')


@pytest.mark.parametrize('base, cure', [
    ('retinanet/retinanet_r18_fpn_1x_coco.py',
     'model.backbone.norm_eval=False model.backbone.frozen_stages=-1'),
    ('yolo/yolov3_d53_8xb8-320-273e_coco.py', 'model.backbone.norm_eval=False'),
])
def test_how_to_thaw_is_said_in_the_options_that_the_model_has(base, cure):
    init_default_scope('mmdet')
    cfg = Config.fromfile(Path(mmdet.__file__).parent / '.mim/configs' / base).model
    cfg.backbone.init_cfg = None
    with pytest.raises(UserError, match=f'thaw them with --cfg-options {cure}$'):
        prepare_model(MODELS.build(cfg), split_bn='aux')
    for option in cure.split():
        key, value = option.split('=')
        assert key.split('.')[-1] in ('norm_eval', 'frozen_stages')
        cfg.backbone[key.split('.')[-1]] = {'False': False, '-1': -1}[value]
    model = prepare_model(MODELS.build(cfg), split_bn='aux')
    assert any('.aux.' in name for name, _ in model.named_parameters())


def test_a_model_without_batch_norms_has_no_auxiliary_ones():
    model = model_of(backbone=nn.LayerNorm(4))
    with pytest.raises(UserError, match='has no batch norm that trains'):
        prepare_model(model, split_bn='aux')
    assert prepare_model(model_of(backbone=nn.LayerNorm(4)), split_bn='clean')


@pytest.mark.parametrize('split', ['clean', 'aux'])
def test_batch_norms_that_tell_parts_apart_need_clean_images(split):
    options = dict(assembly='replace', split_bn=split)
    with pytest.raises(UserError, match='leaves none'):
        prepare_model(model_of(neck=nn.BatchNorm2d(4)), **options)
    model = prepare_model(model_of(neck=nn.BatchNorm2d(4)), share=0.5, **options)
    assert isinstance(model.neck, SplitBN)


def test_roi_heads_keep_their_batch_norm_and_others_are_pointed_out(caplog):
    class Activated(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x).relu()

    model = model_of(neck=Activated(4), roi_head=nn.BatchNorm2d(4), head=nn.BatchNorm2d(4))
    with caplog.at_level(logging.WARNING):
        prepare_model(model, logger=logging.getLogger('test'))
    assert isinstance(model.head, SplitBN) and not isinstance(model.roi_head, SplitBN)
    assert '1 batch norms such as neck take their statistics' in caplog.text


def test_one_prefix_may_stand_alone():
    cfg = Config(dict(adversarial=dict(keep_bn='backbone')))
    assert settings_of(cfg)['keep_bn'] == ('backbone',)


@pytest.mark.parametrize('package', ['mmdet', 'mmpretrain'])
def test_auxiliary_batch_norms_start_as_their_main_ones(package):
    """MMPretrain's ResNet sets the last of each block to zero when its weights are initialized."""
    model = model_of(backbone=MODELS.build(dict(type=f'{package}.ResNet', depth=50)))
    model.backbone.norm_eval, model.backbone.frozen_stages = False, -1
    prepare_model(model, split_bn='aux')
    runner = AdversarialRunner.__new__(AdversarialRunner)
    runner.model = model
    with patch.object(Runner, '_init_model_weights', lambda self: model.backbone.init_weights()):
        runner._init_model_weights()
    norms = split_batch_norms(model)
    assert norms and all(torch.equal(norm.weight, norm.aux.weight) for norm in norms)


def test_what_pipelines_pad_with_is_found():
    pipeline = [dict(type='Pad', pad_val=dict(img=(114, 114, 114))), dict(type='mmdet.Pad', size=9),
                dict(type='Mosaic', pad_val=7)]
    inner = dict(pipeline=[dict(type='Pad', pad_val=3)])
    dataset = dict(type='MultiImageMixDataset', dataset=inner, pipeline=pipeline)
    cfg = Config(dict(train_dataloader=dict(dataset=dataset)))
    assert sorted(map(str, pad_values([cfg.train_dataloader]))) == ['(114, 114, 114)', '0', '3']
