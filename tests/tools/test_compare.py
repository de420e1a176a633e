"""A comparison on a few drawn images: same start, stages that are kept, settings that are held."""

import csv
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from projects.dat.evaluation.benchmark import Row, save
from projects.dat.evaluation.results import CLEAN, Result
from projects.dat.runtime import cli
from projects.dat.runtime.errors import UserError
from projects.dat.runtime.methods import FRAGMENTS, methods_of
from tools import compare
from tools.make_demo_data import make_demo_data

ROOT = Path(__file__).resolve().parents[2]
METHODS = ('plain', 'det_advprop', 'dat')
SEEDS = (0, 3)


def command(data, out, *arguments, epochs=1, options=()):
    parts = [ROOT / 'configs' / 'efficientdet_demo.py', '--data-root', data, '--out', out]
    parts += ['--corruptions', 'contrast', '--severities', '2', *arguments]
    # A learning rate of nothing: the runs stay at their start.
    parts += ['--cfg-options', f'train_cfg.max_epochs={epochs}', 'optim_wrapper.optimizer.lr=0']
    parts += ['optim_wrapper.optimizer.weight_decay=0', 'adversarial.log_interval=1', *options]
    return list(map(str, parts))


def run(*arguments):
    parts = [sys.executable, '-W', 'ignore', str(ROOT / 'tools' / 'compare.py'), *arguments]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    return subprocess.run(parts, capture_output=True, text=True, env=environment)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return make_demo_data(tmp_path_factory.mktemp('data') / 'd', train=4, val=2, size=128)


@pytest.fixture(scope='module')
def finished(data, tmp_path_factory):
    """Three methods, two seeds, two runs at once."""
    out = tmp_path_factory.mktemp('comparison') / 'out'
    result = run(*command(data, out, '--seeds', *map(str, SEEDS), '--jobs', '2'))
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return out, result


@pytest.fixture
def called(monkeypatch, capsys):
    """The tool in this process: status, error, and the processes it would have started."""

    def call(*arguments, statuses=()):
        started = []

        class Process:
            def __init__(self, parts, **_):
                started.append(list(map(str, parts)))

            def wait(self):
                return dict(enumerate(statuses)).get(len(started) - 1, 0)

            def terminate(self):
                pass

        monkeypatch.setattr(compare.subprocess, 'Popen', Process)
        monkeypatch.setattr(compare.signal, 'signal', lambda *_: None)
        monkeypatch.setattr(sys, 'argv', ['compare.py', *arguments])
        status = 0
        try:
            cli.run(compare.main)
        except SystemExit as exit_:
            status = exit_.code
        return status, capsys.readouterr().err, started

    return call


def test_runs_of_a_seed_start_from_the_same_weights(finished):
    out, _ = finished
    starts = {}
    for seed in SEEDS:
        initial = torch.load(out / f'initial_seed{seed}.pth', weights_only=True)['state_dict']
        starts[seed] = initial
        for method in METHODS:
            file = out / method / f'seed{seed}' / 'checkpoint.pth'
            found = torch.load(file, weights_only=True)['state_dict']
            found = {key: value for key, value in found.items() if 'running_' not in key}
            main = {key: value for key, value in found.items() if '.aux.' not in key}
            assert main.keys() == {key for key in initial if 'running_' not in key}
            assert (len(main) < len(found)) == (method == 'det_advprop')
            for key, value in found.items():
                if 'num_batches' not in key:
                    assert torch.equal(value, initial[key.replace('aux.', '')]), key
    key = 'bbox_head.cls_header.pointwise_conv.weight'  # the backbone's are ImageNet's
    assert not torch.equal(*(start[key] for start in starts.values()))


def test_runs_differ_in_method_and_seed_alone(finished):
    out, _ = finished
    left = {}
    for method in METHODS:
        for seed in SEEDS:
            cfg = Config.fromfile(out / method / f'seed{seed}.py')
            assert cfg.pop('work_dir') == str(out / method / f'seed{seed}')
            assert cfg.randomness.pop('seed') == seed
            assert cfg.pop('load_from') == str(out / f'initial_seed{seed}.pth')
            attack = cfg.pop('adversarial', {}).get('attack', {}).get('type')
            assert attack == dict(det_advprop='DetAdvPropAttack', dat='DiscreteAttack').get(method)
            assert cfg.pop('runner_type', None) == (attack and 'AdversarialRunner')
            left[method, seed] = cfg._cfg_dict
    first, *others = left.values()
    assert all(cfg == first for cfg in others)
    assert first.train_dataloader.worker_init_fn.type == 'seed_worker'
    assert not first.train_dataloader.persistent_workers
    hooks = [*first.default_hooks.values(), *first.custom_hooks]
    assert [hook.type for hook in hooks].count('RandomStateHook') == 1


def test_it_reports_over_seeds_and_keeps_the_terminal_for_the_report(finished):
    out, result = finished
    assert 'Difference from plain, paired by seed' in result.stdout and '2 seeds' in result.stdout
    assert 'Epoch(train)' not in result.stdout + result.stderr
    assert 'attack/token_change' in (out / 'dat' / 'seed3.log').read_text()
    assert result.stdout.count('done in') == len(METHODS) * len(SEEDS)
    values = {}
    for method in METHODS:
        found = [Result.load(out / method / f'seed{seed}' / 'robustness.json') for seed in SEEDS]
        assert all(list(x.cells) == [CLEAN, ('contrast', 2)] for x in found)
        values[method] = [x.value(CLEAN) for x in found]
    rows = list(csv.DictReader((out / 'summary.csv').open()))
    clean = {x['method']: float(x['mean']) for x in rows if x['quantity'] == 'clean'}
    assert clean == {name: pytest.approx(sum(x) / 2) for name, x in values.items()}


def test_finished_stages_are_kept_and_others_go_on(data, finished):
    out, _ = finished
    kept = sorted([*out.glob('*.pth'), *out.glob('*/*/checkpoint.pth'), *out.glob('*/*/*.json')])
    assert len(kept) == 2 + 6 + 6
    before = [file.stat().st_mtime_ns for file in kept]
    again = out / 'dat' / 'seed0'
    (again / 'robustness.json').unlink()
    (again / 'checkpoint.pth').unlink()
    # One method and one seed of them, one at a time: it speaks in the terminal.
    result = run(*command(data, out, '--method', 'dat'))
    assert result.returncode == 0, result.stderr[-2000:]
    # The run had come to the end of its last epoch: it is resumed there and trains no more.
    assert 'resumed epoch: 1' in result.stdout and 'Epoch(train)' not in result.stdout
    after = {file: file.stat().st_mtime_ns for file in kept}
    changed = [file for file, time in zip(kept, before, strict=True) if after[file] != time]
    assert changed == [again / 'checkpoint.pth', again / 'robustness.json']


def test_other_settings_are_refused(data, finished, called):
    out, _ = finished
    status, error, started = called(*command(data, out, epochs=2))
    assert status == 2 and not started
    assert error.startswith('error: ') and 'other settings' in error and '--out' in error


def test_the_first_run_that_fails_ends_all(data, tmp_path, called):
    status, _, started = called(*command(data, tmp_path / 'out'), statuses=[3])
    assert status == 3 and len(started) == 1 and 'train.py' in started[0][3]


def test_a_termination_ends_the_runs_too(data, tmp_path):
    out = tmp_path / 'out'
    parts = [sys.executable, '-W', 'ignore', str(ROOT / 'tools' / 'compare.py')]
    parts += command(data, out, '--method', 'plain', epochs=900)
    process = subprocess.Popen(
        parts, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if re.search(r'Epoch\(train\)\s*\[2\]', line):
            process.send_signal(signal.SIGTERM)
            break
    # Its output ends only when no process has it open any more.
    lines += process.stdout.read().splitlines(keepends=True)
    assert process.wait() == 143, ''.join(lines[-20:])
    assert '[900]' not in lines[-1]
    run = out / 'plain' / 'seed0'
    # The checkpoint of a run in its middle is not taken for the last one.
    assert (run / 'last_checkpoint').exists() and not (run / 'checkpoint.pth').exists()


@pytest.mark.parametrize(
    'options, arguments, part',
    [
        (['adversarial.attack.selection=images'], [], 'selection'),
        (['test_dataloader.dataset.ann_file=annotations/nope.json'], [], 'nope.json'),
        ([], ['--coco-c', 'nowhere'], 'nowhere'),
        ([], ['--method', 'plain', 'dta'], 'dta.py does not exist'),
        ([], ['--method', 'plain', 'mine=nowhere.py'], 'nowhere.py does not exist'),
        ([], ['--method', 'plain', 'plain'], "got 'plain'"),
        ([], ['--method', 'a/b=x.py'], "got 'a/b=x.py'"),
        ([], ['--seeds', '1', '1'], '[1, 1]'),
        ([], ['--jobs', '0'], '--jobs'),
        ([], ['--start-from', 'nowhere'], 'nowhere/seed0/checkpoint.pth does not exist'),
        ([], ['--costs', 'nowhere.json'], 'measure with that tool'),
        ([], ['--corruption-seed', '-1'], 'at least 0, but is -1'),
        (['model.backbone.frozen_stages=1'], ['--method', 'det_advprop'], 'are frozen: thaw'),
    ],
)
def test_mistakes_are_found_before_anything_is_written(
    data, tmp_path, called, options, arguments, part
):
    status, error, started = called(
        *command(data, tmp_path / 'out', *arguments, options=options)
    )
    assert status == 2 and part in error.splitlines()[-1] and 'Traceback' not in error
    assert not started and not (tmp_path / 'out').exists()


def test_a_name_of_the_one_before_says_where_it_went():
    file = str(ROOT / 'tools' / 'compare_det_advprop.py')
    done = subprocess.run([sys.executable, file, 'c.py'], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ''
    assert done.stderr.startswith('error: ') and 'tools/compare.py' in done.stderr


def test_methods_configs_and_seeds_of_a_command(monkeypatch, tmp_path):
    """Of a config that is adversarial itself, too, and has no seed."""
    config = tmp_path / 'retina.py'
    config.write_text(
        "_base_ = ['mmdet::retinanet/retinanet_r18_fpn_1x_coco.py', "
        f"{str(ROOT / 'configs/_base_/attacks/dat_released.py')!r}]\nrandomness = dict(seed=None)\n"
    )
    arguments = [config, '--method', 'plain', '--method', 'random_tokens', 'mine=f.py',
                 '--seeds', '4', '--corruption-seed', '7']
    monkeypatch.setattr(sys, 'argv', ['compare.py', *map(str, arguments)])
    args = compare.parse_args()
    assert args.corruption_seed == 7
    methods = methods_of(args.method)
    fragments = str(FRAGMENTS / 'random_tokens.py')
    assert methods == dict(plain=None, random_tokens=fragments, mine='f.py')
    for name in ('plain', 'random_tokens'):
        cfg = compare.make_config(methods[name], tmp_path / name, 4, args)
        hooks = [*cfg.default_hooks.values(), *cfg.custom_hooks]
        assert [hook['type'] for hook in hooks].count('RandomStateHook') == 1
        assert cfg.randomness.seed == 4
        assert ('adversarial' in cfg) == ('runner_type' in cfg) == (name != 'plain')
    assert cfg.adversarial.attack.variant == 'paper'
    assert cfg.adversarial.attack.direction == 'random'
    monkeypatch.setattr(sys, 'argv', ['compare.py', '--seed', '1'])
    with pytest.raises(SystemExit):
        compare.parse_args()
    for names in ([''], ['dat', 'dat'], ['../dat']):
        with pytest.raises(UserError, match='a name of its own'):
            methods_of(names)


def test_runs_that_start_from_another_comparison(data, finished, tmp_path, called):
    out, _ = finished
    arguments = ['--method', 'plain', '--seeds', '0', '3', '--start-from', out / 'plain']
    called(*command(data, tmp_path / 'out', *arguments), statuses=[3])
    for seed in SEEDS:
        cfg = Config.fromfile(tmp_path / 'out' / 'plain' / f'seed{seed}.py')
        assert cfg.load_from == str(out / 'plain' / f'seed{seed}' / 'checkpoint.pth')
    assert not list((tmp_path / 'out').glob('initial*'))


def test_training_times_are_those_of_a_step_for_as_many_epochs(data, tmp_path, monkeypatch):
    """What was not measured is not known; without an attack a step is a plain one."""
    longer = tmp_path / 'longer.py'
    longer.write_text('train_cfg = dict(max_epochs=6)')
    save(tmp_path / 'b.json', [Row('dat', 't', 128, 8, 1, [6, 5, 7], [2, 2, 2])])
    methods = ['plain', 'dat', 'random_tokens', f'longer={longer}']
    arguments = ['--method', *methods, '--costs', tmp_path / 'b.json']
    monkeypatch.setattr(
        sys, 'argv', ['compare.py', *command(data, tmp_path / 'out', *arguments, epochs=2)]
    )
    args = compare.parse_args()
    args.cfg_options.pop('train_cfg.max_epochs')
    configs = {
        name: compare.make_config(fragment, tmp_path / 'out', 0, args)
        for name, fragment in methods_of(methods).items()
    }
    epochs = configs['plain'].train_cfg.max_epochs
    assert compare.training_times(configs, args) == dict(plain=1, dat=3, longer=6 / epochs)
