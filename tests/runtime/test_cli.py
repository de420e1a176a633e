"""The part that train.py and test.py share: arguments into configs, mistakes into sentences."""

import argparse
import re

import pytest
from mmengine.registry import Registry

from projects.dat.runtime import cli
from projects.dat.runtime.errors import ArgumentError, UserError
from tests.training.coco_case import coco_config
from tools.train import apply_arguments

THINGS = Registry('thing', scope='cli_test', locations=['projects.dat.runtime.errors'])


@THINGS.register_module()
class Thing:
    def __init__(self, alpha=1.0):
        if alpha < 0:
            raise ArgumentError(f'alpha must be at least 0, but got {alpha}')
        if alpha == 7:
            raise ValueError('a bug')

def _args(*argv):
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    return parser.parse_args([str(a) for a in argv])


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ('LOCAL_RANK', 'RANK'):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def config(tmp_path):
    file = tmp_path / 'small.py'
    file.write_text(coco_config('data/own').pretty_text)
    return file


def test_shared_arguments(config):
    cfg = cli.load_config(_args(
        config, '--data-root', '/new', '--cfg-options', 'model.bbox_head.num_classes=5',
        'val_dataloader.dataset.data_root=/newer', 'model.backbone.init_cfg=None',
    ))
    assert cfg.work_dir == 'work_dirs/small'
    assert cfg.launcher == 'none'
    assert cfg.model.bbox_head.num_classes == 5
    assert cfg.model.backbone.init_cfg is None
    assert cfg.train_dataloader.dataset.data_root == '/new'
    assert cfg.val_dataloader.dataset.data_root == '/newer'
    assert cli.load_config(_args(config, '--work-dir', 'runs/a')).work_dir == 'runs/a'


def test_processes_without_gpu_talk_over_gloo(config, monkeypatch):
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    cfg = cli.load_config(_args(config, '--launcher', 'pytorch'))
    assert cfg.env_cfg.dist_cfg.backend == 'gloo'
    assert cfg.model_wrapper_cfg.device_ids is None


BAD_ARGUMENTS = {
    'no config': (lambda c: ['nowhere.py'], ['config nowhere.py does not exist']),
    'moved config': (
        lambda c: ['configs/vqgan_fast_f8.py'], ['give', 'configs/tokenizer/vqgan_fast_f8.py']),
    'syntax': (lambda c: [_written(c, 'a = dict(')], ['small.py cannot be read', 'SyntaxError']),
    'base': (lambda c: [_written(c, "_base_ = 'gone.py'")], ['cannot be read', 'gone.py']),
    'index': (lambda c: [c, '--cfg-options', 'train_dataloader.dataset.pipeline.9.type=X'],
              ['--cfg-options does not fit', '9']),
    'launcher': (lambda c: [c, '--launcher', 'pytorch'], ['torchrun', 'tools/dist_train.sh']),
}


def _written(config, text):
    config.write_text(text)
    return config


@pytest.mark.parametrize(('arguments', 'expected'), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
def test_bad_arguments(config, arguments, expected):
    with pytest.raises(UserError) as caught:
        cli.load_config(_args(*arguments(config)))
    for part in expected:
        assert part in str(caught.value)


def test_options_that_cannot_be_read(config, capsys):
    with pytest.raises(SystemExit):
        _args(config, '--cfg-options', "model=dict(type='A', depth='18')")
    assert '--cfg-options cannot read model=dict(' in capsys.readouterr().err


def _train_args(**changes):
    return argparse.Namespace(
        **dict(config='c.py', amp=False, auto_scale_lr=False, resume=None, new_head=False) | changes
    )


def test_training_arguments():
    cfg = coco_config('data/own')
    cfg.auto_scale_lr = dict(base_batch_size=16)
    apply_arguments(cfg, _train_args(amp=True, auto_scale_lr=True, resume='auto'))
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.loss_scale == 'dynamic'
    assert cfg.auto_scale_lr.enable
    assert cfg.resume and cfg.load_from is None
    apply_arguments(cfg, _train_args(resume='epoch_3.pth'))
    assert cfg.resume and cfg.load_from == 'epoch_3.pth'


@pytest.mark.parametrize('changes', [dict(), dict(resume='epoch_3.pth'), dict(resume='auto')])
def test_new_head_needs_weights_to_start_from(changes):
    with pytest.raises(UserError, match='--cfg-options load_from=CHECKPOINT'):
        apply_arguments(coco_config('data/own'), _train_args(new_head=True, **changes))


def test_auto_scale_needs_a_base():
    with pytest.raises(UserError, match='base_batch_size'):
        apply_arguments(coco_config('data/own'), _train_args(auto_scale_lr=True))


REFUSED = {
    'user error': (lambda: _raise(UserError('no such thing: make one')), 'no such thing: make one'),
    'argument': (lambda: THINGS.build(dict(type='Thing', alpha=-1)), 'alpha must be at least 0'),
    'registry': (lambda: THINGS.build(dict(type='Thing', beta=1)), "Thing has the argument 'beta'"),
}


def _raise(error):
    raise error


@pytest.mark.parametrize(('main', 'sentence'), REFUSED.values(), ids=REFUSED)
def test_mistakes_become_sentences(capsys, main, sentence):
    with pytest.raises(SystemExit) as exit_:
        cli.run(main)
    assert exit_.value.code == 2
    assert re.search(f'^error: .*{sentence}', capsys.readouterr().err)


@pytest.mark.parametrize('main', [
    lambda: THINGS.build(dict(type='Thing', alpha=7)),
    lambda: _raise(ValueError('a bug')),
    lambda: _raise(RuntimeError('out of memory')),
])
def test_bugs_keep_their_trace(main):
    with pytest.raises((ValueError, RuntimeError)):
        cli.run(main)


def test_only_the_first_rank_of_a_machine_checks(config, monkeypatch):
    cfg = cli.load_config(_args(config))
    with pytest.raises(UserError, match='data/own'):
        cli.check_once(cfg, 'train')
    monkeypatch.setenv('LOCAL_RANK', '1')
    cli.check_once(cfg, 'train')
