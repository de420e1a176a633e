import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import skimage.data
import torch
from PIL import Image

from projects.dat.runtime import cli
from projects.dat.tokenizer import FastVQGAN, write_state_dict
from tests.training.coco_case import coco_config
from tools import benchmark

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('benchmark') / 'tiny.safetensors'
    write_state_dict(FastVQGAN(width=8, num_tokens=64).state_dict(), path, {})
    return path


@pytest.fixture(autouse=True)
def handlers_as_before():
    """cli.run logs to this test's captured stream, which later tests do not have."""
    logger = logging.getLogger('projects.dat')
    handlers, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


def run(folder, *options):
    command = [sys.executable, '-W', 'ignore', ROOT / 'tools/benchmark.py', '--device', 'cpu']
    command += ['--out', folder / 'out', *options]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=folder)


def test_measures_and_writes(tmp_path, tiny):
    options = ['--tokenizers', tiny, '--recipe-tokenizer', tiny, '--precisions', 'bf16']
    (tmp_path / 'train2017').mkdir()
    coco_config(tmp_path).dump(tmp_path / 'retinanet.py')
    options += ['--detector', tmp_path / 'retinanet.py']
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / 'train2017' / 'astronaut.png')
    options += ['--images', tmp_path / 'train2017']
    result = run(tmp_path, *options, '--sizes', 128, '--batches', 1, '--rounds', 2)
    assert result.returncode == 0, result.stderr[-3000:]
    lines = result.stdout.splitlines()
    assert 'round 2 of 2, 0 s left' in lines
    assert '128 px, batch 1 (plain step = 1)' in lines
    rows = [line.split('  ')[0] for line in lines]
    table = rows[rows.index('128 px, batch 1 (plain step = 1)') + 3 :][:3]
    assert table == ['plain step', 'tiny bf16', 'published recipe']
    assert 'milliseconds' not in result.stdout

    content = json.loads((tmp_path / 'out' / 'benchmark.json').read_text())
    # The plain step, seven quantities of the tokenizer, and two of the recipe.
    assert len(content['measurements']) == 1 + 8 + 3
    (changes,) = content['precision_changes']
    assert changes['row'] == 'tiny bf16' and 0 <= changes['encode_changed_tokens'] < 0.5
    assert all(len(m['seconds']) == 2 for m in content['measurements'])
    assert all(seconds > 0 for m in content['measurements'] for seconds in m['seconds'])
    assert content['command'][1:3] == ['--device', 'cpu']
    assert content['machine']['torch'] == torch.__version__
    names = {path.name for path in (tmp_path / 'out').iterdir()}
    assert names == {
        'benchmark.json', 'benchmark.md', 'cost_by_size.png', 'cost_by_batch.png',
    }


@pytest.mark.parametrize(
    'options, message',
    [
        (['--tokenizers', 'vqgan'], "'vqgan'; check the spelling"),
        (['--tokenizers', 'gone.safetensors'], 'gone.safetensors'),
        (['--precisions', 'int8'], "but has 'int8'"),
        (['--precisions', 'fp32/'], "but has 'fp32/'"),
        (['--precisions', 'fp32/fp16'], 'use bf16 on a CPU'),
        (['--images', 'nowhere'], '--images needs a folder'),
        (['--sizes', 200], 'multiples of 128, but --sizes has 200: use 256'),
        (['--batches', 0], '--batches must be at least 1'),
        (['--rounds', 0], '--rounds must be at least 1'),
        (['--detector', 'nowhere.py'], 'nowhere.py does not exist'),
        (['--device', 'cuda'], '--device cuda needs a GPU'),
    ],
)
def test_mistakes(tmp_path, options, message, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    command = ['benchmark.py', '--detector', ROOT / 'configs/efficientdet_demo.py', *options]
    monkeypatch.setattr(sys, 'argv', list(map(str, [*command, '--out', tmp_path / 'out'])))
    with pytest.raises(SystemExit) as stopped:
        cli.run(benchmark.main)
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith('error: ') and message in lines[0]
    assert not (tmp_path / 'out').exists()
