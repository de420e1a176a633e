"""A comparison of pre-trainings by probes: what is run, on what, and what is refused."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from projects.dat.evaluation.results import CLEAN, Result
from projects.dat.runtime import cli
from tests.evaluation.result_case import make_result
from tests.training.folder_case import write_folders
from tools import compare

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/selfsup/simsiam_small.py'
GRID = dict(corruptions=['contrast'], severities=[2])


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """The tool on three classes, its processes played; gives status, error and the processes."""
    write_folders(tmp_path / 'data')
    started = []

    class Process:
        """Leaves behind what the tool would."""

        def __init__(self, parts, **_):
            tool, config, *rest = map(str, parts[7 if 'torch.distributed.run' in parts else 3:])
            started.append((Path(tool).name, str(Path(config).relative_to(tmp_path)), rest))
            work_dir = Path(config).with_suffix('')
            work_dir.mkdir(exist_ok=True)
            if tool.endswith('train.py'):
                torch.save({}, work_dir / 'epoch_1.pth')
                (work_dir / 'last_checkpoint').write_text(str(work_dir / 'epoch_1.pth'))
            elif tool.endswith('extract_backbone.py'):
                shutil.copyfile(rest[0], rest[1])
            else:
                make_result(len(started), **GRID).save(rest[rest.index('--out') + 1])

        def wait(self):
            return 0

    monkeypatch.setattr(compare.subprocess, 'Popen', Process)
    monkeypatch.setattr(compare.signal, 'signal', lambda *_: None)
    monkeypatch.setattr(compare, 'write_initial_weights', lambda cfg, file: None)

    def call(*arguments, config=CONFIG):
        parts = ['compare.py', config, '--method', 'plain', 'random_tokens', '--out',
                 tmp_path / 'out', '--data-root', tmp_path / 'data', '--corruptions', 'contrast',
                 '--severities', '2', *arguments]
        monkeypatch.setattr(sys, 'argv', list(map(str, parts)))
        status = 0
        try:
            cli.run(compare.main)
        except SystemExit as exit_:
            status = exit_.code
        return status, capsys.readouterr(), started

    return call


@pytest.fixture
def probes(tmp_path):
    """The small probes, for three classes."""
    files = []
    for name in ('linear_probe_small', 'knn_small'):
        files.append(tmp_path / f'{name}.py')
        base = ROOT / f'configs/selfsup/{name}.py'
        files[-1].write_text(
            f"_base_ = {str(base)!r}\nmodel = dict(head=dict(num_classes=3))\n"
            'train_dataloader = dict(num_workers=0, persistent_workers=False)\n')
    return files


def test_every_run_is_probed_and_every_probe_is_reported(call, probes, tmp_path):
    status, said, started = call('--seeds', '3', '--probe', *probes)
    assert status == 0, said.err
    expected = []
    for run in ('out/plain/seed3', 'out/random_tokens/seed3'):
        trained, knn = f'{run}/linear_probe_small.py', f'{run}/knn_small.py'
        expected += [('train.py', f'{run}.py'), ('extract_backbone.py', f'{run}.py'),
                     ('train.py', trained), ('train.py', knn),
                     ('test_robustness.py', trained), ('test_robustness.py', knn)]
    assert [(tool, config) for tool, config, _ in started] == expected
    for run in (tmp_path / 'out/plain/seed3', tmp_path / 'out/random_tokens/seed3'):
        for probe in ('linear_probe_small', 'knn_small'):
            cfg = Config.fromfile(run / f'{probe}.py')
            assert cfg.model.backbone.init_cfg.checkpoint == str(run / 'backbone.pth')
            assert cfg.model.backbone.init_cfg.prefix == 'backbone'
            assert (cfg.randomness.seed, cfg.work_dir) == (3, str(run / probe))
    for probe in ('linear_probe_small', 'knn_small'):
        report = (tmp_path / 'out' / probe / 'comparison.md').read_text()
        assert 'random_tokens' in report
    results = list((tmp_path / 'out').glob('*/seed3/*/robustness.json'))
    assert len(results) == 4 and all(CLEAN in Result.load(file).cells for file in results)
    # A probe more adds itself alone.
    started.clear()
    (tmp_path / 'out/plain/seed3/knn_small/checkpoint.pth').unlink()
    assert call('--seeds', '3', '--probe', *probes)[0] == 0
    assert [tool for tool, *_ in started] == ['train.py', *['test_robustness.py'] * 4]


def test_one_process_trains_a_probe_and_takes_the_backbone(call, probes):
    status, said, started = call('--gpus', '2', '--probe', *probes)
    assert status == 0, said.err
    alone = [(tool, Path(config).stem) for tool, config, rest in started
             if '--launcher' not in rest]
    once = [('extract_backbone.py', 'seed0'), ('train.py', 'linear_probe_small'),
            ('train.py', 'knn_small')]
    assert alone == 2 * once and len(started) == 12


@pytest.mark.parametrize(
    'arguments, config, said',
    [
        ([], CONFIG, 'name a classifier on its backbone with --probe CONFIG'),
        (['--probe', CONFIG], CONFIG, 'expected the config of a classifier with a backbone for'),
        (['--probe', ROOT / 'configs/selfsup/nope.py'], CONFIG, 'nope.py does not exist'),
        (['--probe', 'PROBE', '--cfg-options', 'model.backbone.norm_cfg.type=IN'],
         CONFIG, 'is of another model than the config'),
        (['--probe', 'PROBE', 'PROBE'], CONFIG, 'whose files are called differently'),
        (['--probe', 'PROBE', '--cfg-options', 'adversarial.views=1'],
         CONFIG, 'expected views to be the numbers of the views to attack'),
        (['--probe', 'PROBE'], 'PROBE', 'expected the config of a self-supervised pre-training'),
    ],
)
def test_mistakes_are_found_before_anything_is_written(
    call, probes, tmp_path, arguments, config, said
):
    arguments = [probes[0] if part == 'PROBE' else part for part in arguments]
    status, found, started = call(*arguments, config=probes[0] if config == 'PROBE' else config)
    assert status == 2 and said in found.err.splitlines()[-1]
    assert not started and not (tmp_path / 'out').exists()
