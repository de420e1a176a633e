"""A comparison on a few drawn images: same start, stages that are kept, settings that are held."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from tools.make_demo_data import make_demo_data

ROOT = Path(__file__).resolve().parents[2]


def run(data, out, *arguments, epochs=1):
    command = [sys.executable, '-W', 'ignore', str(ROOT / 'tools' / 'compare_det_advprop.py')]
    command += [str(ROOT / 'configs' / 'efficientdet_demo.py'), '--data-root', str(data)]
    command += ['--out', str(out), '--methods', 'plain', 'dat']
    command += ['--corruptions', 'contrast', '--severities', '2', *arguments]
    # A learning rate of nearly nothing: the runs stay at their start.
    command += ['--cfg-options', f'train_cfg.max_epochs={epochs}', 'optim_wrapper.optimizer.lr=0']
    command += ['optim_wrapper.optimizer.weight_decay=0', 'adversarial.hook.interval=1']
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
    plain, dat = weights(out, 'plain'), weights(out, 'dat')
    assert plain.keys() == dat.keys()
    for key, value in plain.items():
        if 'num_batches' not in key:
            assert torch.equal(value, dat[key]) and torch.equal(value, initial[key]), key


def test_runs_differ_in_the_method_alone(finished):
    out, _ = finished
    plain, dat = (Config.fromfile(out / f'{name}.py') for name in ('plain', 'dat'))
    assert 'adversarial' not in plain
    assert dat.pop('adversarial').hook.interval == 1
    assert plain.pop('work_dir') != dat.pop('work_dir')
    assert plain._cfg_dict == dat._cfg_dict


def test_it_reports_both_runs_as_partial(finished):
    out, result = finished
    assert 'attack/code_change' in result.stdout + result.stderr
    for method in ('plain', 'dat'):
        found = json.loads((out / method / 'coco_c.json').read_text())
        assert list(found['cells']) == ['contrast'] and not found['summary']['complete']
    assert 'partial' in result.stdout
    assert 'dat' in (out / 'comparison.md').read_text()


def test_finished_stages_are_kept(data, finished):
    out, _ = finished
    kept = [
        out / 'initial.pth',
        *(out / method / name for method in ('plain', 'dat')
          for name in ('checkpoint.pth', 'coco_c.json')),
    ]
    before = [file.stat().st_mtime_ns for file in kept]
    (out / 'dat' / 'coco_c.json').unlink()
    result = run(data, out)
    assert result.returncode == 0, result.stderr[-2000:]
    assert 'Epoch(train)' not in result.stdout
    assert [file.stat().st_mtime_ns for file in kept[:-1]] == before[:-1]
    assert kept[-1].exists()


def test_other_settings_are_refused(data, finished):
    out, _ = finished
    result = run(data, out, epochs=2)
    assert result.returncode == 2
    (sentence,) = [x for x in result.stderr.splitlines() if x.startswith('error:')]
    assert 'other settings' in sentence and '--out' in sentence
    assert 'Traceback' not in result.stderr
