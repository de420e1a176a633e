import os
import subprocess
import sys
from pathlib import Path

import pytest

from projects.dat.runtime import cli
from tests.evaluation.comparison_case import make_result
from tools import compare_robustness

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Results of three runs, one that differs from them, and one that is none."""
    monkeypatch.chdir(tmp_path)
    grid = dict(corruptions=('fog', 'snow'), severities=(1, 3))
    for i, name in enumerate(('plain', 'advprop', 'dat')):
        make_result(i, **grid).save(f'{name}.json')
        make_result(i, **grid).save(f'{name}/coco_c.json')
    make_result(3, **grid, channel_order='rgb').save('rgb.json')
    make_result(3, corruptions=('fog',), severities=(1,)).save('less.json')
    Path('other.json').write_text('{"bbox_mAP": 0.3}')
    Path('text.json').write_text('mAP: 0.3')
    return tmp_path


def run(monkeypatch, capsys, *arguments):
    """Exit status, output and errors of the tool."""
    monkeypatch.setattr(sys, 'argv', ['compare_robustness.py', *arguments])
    try:
        cli.run(compare_robustness.main)
        status = 0
    except SystemExit as exit_:
        status = exit_.code
    return status, *capsys.readouterr()


def test_command_line(files):
    command = [sys.executable, '-W', 'ignore', ROOT / 'tools/compare_robustness.py']
    command += ['plain.json', 'advprop.json', 'dat.json', '--out', 'out']
    command += ['--names', 'plain', 'det-advprop', 'dat']
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=files)
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'partial: mean of 4 of 75 cells' in done.stdout and 'mPC' not in done.stdout
    assert 'Difference from plain' in done.stdout and 'det-advprop' in done.stdout
    assert (files / 'out/comparison.md').is_file() and 'written to out' in done.stdout


@pytest.mark.parametrize(
    'arguments, names',
    [
        (['dat.json', 'plain.json'], ['dat', 'plain']),
        (['plain/coco_c.json', 'dat/coco_c.json'], ['plain/coco_c', 'dat/coco_c']),
        (['plain/coco_c.json', 'dat/coco_c.json', '--names', 'a', 'b'], ['a', 'b']),
    ],
)
def test_names_and_order_without_files(files, monkeypatch, capsys, arguments, names):
    before = sorted(os.listdir())
    status, out, _ = run(monkeypatch, capsys, *arguments)
    assert status == 0 and f'Difference from {names[0]}\n' in out
    assert [line.split()[0] for line in out.splitlines()[3:5]] == names
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(
    'arguments, messages',
    [
        (['plain.json'], ['two or more runs, but got 1']),
        (['plain.json', 'rgb.json'], ['plain.json and rgb.json', 'channel orders are bgr and rgb']),
        (
            ['plain.json', 'less.json', '--names', 'a', 'b'],
            ['plain.json and less.json', 'the second lacks snow 1, snow 3, fog 3'],
        ),
        (['plain.json', 'plain.json'], ["'plain' is given twice"]),
        (['plain.json', 'dat.json', '--names', 'a', 'a'], ["'a' is given twice"]),
        (['plain.json', 'dat.json', '--names', 'a'], ['expected 2 names', 'got 1: a']),
        (['plain.json', 'missing.json'], ['missing.json']),
        (['plain.json', 'other.json'], ['other.json']),
        (['plain.json', 'text.json'], ['text.json']),
        (['plain.json', 'dat.json', '--out', 'text.json'], ['text.json', 'cannot be written']),
    ],
)
def test_mistakes_are_one_sentence(files, monkeypatch, capsys, arguments, messages):
    status, out, err = run(monkeypatch, capsys, *arguments)
    assert status == 2 and out == ''
    assert err.startswith('error: ') and err.count('\n') == 1
    for message in messages:
        assert message in err
