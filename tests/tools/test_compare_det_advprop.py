"""A comparison on a few drawn images: same start, stages that are kept, settings that are held."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from tools.compare_det_advprop import METHODS, make_config
from tools.make_demo_data import make_demo_data

ROOT = Path(__file__).resolve().parents[2]


def run(data, out, *arguments, epochs=1, options=()):
    command = [sys.executable, '-W', 'ignore', str(ROOT / 'tools' / 'compare_det_advprop.py')]
    command += [str(ROOT / 'configs' / 'efficientdet_demo.py'), '--data-root', str(data)]
    command += ['--out', str(out)]
    command += ['--corruptions', 'contrast', '--severities', '2', *arguments]
    # A learning rate of nearly nothing: the runs stay at their start.
    command += ['--cfg-options', f'train_cfg.max_epochs={epochs}', 'optim_wrapper.optimizer.lr=0']
    command += ['optim_wrapper.optimizer.weight_decay=0', 'adversarial.hook.interval=1', *options]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return make_demo_data(tmp_path_factory.mktemp('data') / 'd', train=4, val=2, size=128)


@pytest.fixture(scope='module')
def finished(data, tmp_path_factory):
    out = tmp_path_factory.mktemp('comparison') / 'out'
    result = run(data, out)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return out, result


def weights(out, method):
    state = torch.load(out / method / 'checkpoint.pth', weights_only=True)['state_dict']
    return {key: value for key, value in state.items() if 'running_' not in key}


def test_runs_start_from_the_same_weights(finished):
    out, _ = finished
    initial = torch.load(out / 'initial.pth', weights_only=True)['state_dict']
    for method in METHODS:
        found = weights(out, method)
        main = {key: value for key, value in found.items() if '.aux.' not in key}
        assert main.keys() == {key for key in initial if 'running_' not in key}
        assert (len(main) < len(found)) == (method == 'det_advprop')
        for key, value in found.items():
            if 'num_batches' not in key:
                assert torch.equal(value, initial[key.replace('aux.', '')]), key


def test_runs_differ_in_the_method_alone(finished):
    out, _ = finished
    plain, det_advprop, dat = (Config.fromfile(out / f'{name}.py') for name in METHODS)
    assert 'adversarial' not in plain
    for cfg, attack in ((det_advprop, 'DetAdvPropAttack'), (dat, 'DiscreteAttack')):
        adversarial = cfg.pop('adversarial')
        assert adversarial.hook.interval == 1 and adversarial.hook.attack.type == attack
    assert len({cfg.pop('work_dir') for cfg in (plain, det_advprop, dat)}) == 3
    assert plain._cfg_dict == dat._cfg_dict == det_advprop._cfg_dict
    assert plain.train_dataloader.worker_init_fn.type == 'seed_worker'
    assert not plain.train_dataloader.persistent_workers
    hooks = [*plain.default_hooks.values(), *plain.custom_hooks]
    assert [hook.type for hook in hooks].count('RandomStateHook') == 1


def test_configs_of_others_get_what_makes_runs_comparable(tmp_path):
    config = tmp_path / 'retina.py'
    config.write_text(
        "_base_ = ['mmdet::retinanet/retinanet_r18_fpn_1x_coco.py', "
        f"{str(ROOT / 'configs/_base_/attacks/dat_released.py')!r}]\nrandomness = dict(seed=None)\n"
    )
    args = argparse.Namespace(
        config=str(config), data_root=None, cfg_options=None, out=tmp_path,
        det_advprop=str(ROOT / 'configs/_base_/attacks/det_advprop.py'),
    )
    for method in ('plain', 'det_advprop'):
        cfg = make_config(method, args)
        assert cfg.train_dataloader.worker_init_fn.type == 'seed_worker'
        assert not cfg.train_dataloader.persistent_workers
        hooks = [*cfg.default_hooks.values(), *cfg.custom_hooks]
        assert [hook['type'] for hook in hooks].count('RandomStateHook') == 1
        assert cfg.randomness.seed == 0
    assert 'variant' not in cfg.adversarial.hook.attack


def test_it_reports_all_runs_as_partial(finished):
    out, result = finished
    assert 'attack/token_change' in result.stdout + result.stderr
    for method in METHODS:
        found = json.loads((out / method / 'coco_c.json').read_text())
        assert list(found['cells']) == ['contrast'] and not found['summary']['complete']
    assert 'partial' in result.stdout
    assert 'dat' in (out / 'comparison.md').read_text()


def test_finished_stages_are_kept_and_others_go_on(data, finished):
    out, _ = finished
    kept = [
        out / 'initial.pth',
        *(out / method / name for method in METHODS for name in ('checkpoint.pth', 'coco_c.json')),
    ]
    before = [file.stat().st_mtime_ns for file in kept]
    (out / 'dat' / 'coco_c.json').unlink()
    (out / 'dat' / 'checkpoint.pth').unlink()
    result = run(data, out)
    assert result.returncode == 0, result.stderr[-2000:]
    # The run had come to the end of its last epoch: it is resumed there and trains no more.
    assert 'resumed epoch: 1' in result.stdout and 'Epoch(train)' not in result.stdout
    assert [file.stat().st_mtime_ns for file in kept[:-2]] == before[:-2]
    assert kept[-1].exists() and kept[-2].exists()


def test_other_settings_are_refused(data, finished):
    out, _ = finished
    result = run(data, out, epochs=2)
    assert result.returncode == 2
    (sentence,) = [x for x in result.stderr.splitlines() if x.startswith('error:')]
    assert 'other settings' in sentence and '--out' in sentence
    assert 'Traceback' not in result.stderr


@pytest.mark.parametrize(
    'options, arguments, part',
    [
        (['adversarial.hook.attack.selection=images'], [], 'selection'),
        (['test_dataloader.dataset.ann_file=annotations/nope.json'], [], 'nope.json'),
        ([], ['--coco-c', 'nowhere'], 'nowhere'),
        (['epochs'], [], 'KEY=VALUE'),
    ],
)
def test_mistakes_are_found_before_anything_is_written(data, tmp_path, options, arguments, part):
    result = run(data, tmp_path / 'out', *arguments, options=options)
    assert result.returncode == 2
    assert part in result.stderr.splitlines()[-1] and 'Traceback' not in result.stderr
    assert not (tmp_path / 'out').exists()
