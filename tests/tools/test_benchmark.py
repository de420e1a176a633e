import functools
import json
import logging
import sys
from pathlib import Path

import pytest
import torch

from projects.dat.evaluation import benchmark as measurements
from projects.dat.runtime import cli
from projects.dat.tokenizer import VQGAN, FastVQGAN, write_state_dict
from tests.training.coco_case import coco_config
from tools import benchmark

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def handlers_as_before():
    """cli.run logs to this test's captured stream, which later tests do not have."""
    logger = logging.getLogger('projects.dat')
    handlers, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


@pytest.fixture
def run(tmp_path, monkeypatch):
    coco_config(tmp_path).dump(tmp_path / 'retinanet.py')
    torch.manual_seed(0)
    state_dict = FastVQGAN(width=8, num_tokens=64).state_dict()
    write_state_dict(state_dict, tmp_path / 'tiny.safetensors', {})
    small = functools.partial(VQGAN, ch=32, ch_mult=(1, 1, 1, 1), num_res_blocks=1)
    monkeypatch.setattr(measurements, 'VQGAN', small)
    monkeypatch.setattr(measurements, '_MAX_CALLS', 1)
    monkeypatch.chdir(tmp_path)

    def run(*options):
        command = ['benchmark.py', 'retinanet.py', '--tokenizers', 'tiny.safetensors']
        command += ['--device', 'cpu', '--out', 'out', *options]
        monkeypatch.setattr(sys, 'argv', command)
        cli.run(benchmark.main)

    return run


def test_measures_and_writes(run, tmp_path, capsys):
    run('--precisions', 'bf16', '--sizes', '128', '--rounds', '2')
    title, header, _, *lines, _, written = capsys.readouterr().out.splitlines()
    assert title.startswith('Steps of retinanet, ') and header.startswith('method')
    names = ['plain', 'dat', 'random_tokens', 'published recipe']
    assert [line.split('  ')[0] for line in lines] == names
    assert all('  tiny.safetensors bf16  ' in line for line in lines[1:3])
    assert written == 'written to out'
    content = json.loads((tmp_path / 'out' / 'benchmark.json').read_text())
    assert [row['method'] for row in content['rows']] == names
    assert all(len(row['seconds']) == len(row['plain_seconds']) == 2 for row in content['rows'])
    assert content['arguments']['sizes'] == [128]
    assert content['machine']['torch'] == torch.__version__
    text = (tmp_path / 'out' / 'benchmark.md').read_text()
    assert all(f'| {name} |' in text for name in names)
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {
        'benchmark.json', 'benchmark.md'
    }


@pytest.mark.parametrize(
    'options, message',
    [
        (['--tokenizers', 'vqgan'], "'vqgan'; check the spelling"),
        (['--tokenizers', 'gone.safetensors'], 'gone.safetensors'),
        (['--recipe-tokenizer', 'gone.safetensors'], 'gone.safetensors'),
        (['--precisions', 'int8'], "invalid choice: 'int8'"),
        (['--precisions', 'fp16'], 'use bf16 on a CPU'),
        (['--sizes', '200'], 'multiples of 128, but has 200'),
        (['--sizes', '128', '--batches', '1'], 'leaves batch norm a single value'),
        (['--batches', '0'], 'must be at least 1'),
        (['--rounds', '0'], 'must be at least 1'),
        (['--method', 'nowhere'], 'nowhere.py does not exist'),
        (['--out', 'retinanet.py'], 'retinanet.py cannot be made'),
    ],
)
def test_mistakes(run, options, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(*options)
    assert stopped.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert 'error: ' in last and message in last
