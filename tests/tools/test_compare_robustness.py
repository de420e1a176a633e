import os
import subprocess
import sys
from pathlib import Path

import pytest

from projects.dat.runtime import cli
from tests.evaluation.result_case import make_result
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
        make_result(i + 10, **grid).save(f'{name}_again.json')
    make_result(3, **grid, channel_order='rgb').save('rgb.json')
    make_result(3, **grid, packages={'torch': '2.12.0'}).save('later.json')
    make_result(3, corruptions=('fog',), severities=(1,)).save('less.json')
    Path('old.json').write_text('{"schema": 1, "clean": null}')
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
    command += ['plain.json', 'plain_again.json', 'dat.json', 'dat_again.json', '--out', 'out']
    command += ['--names', 'plain', 'plain', 'DAT', 'DAT']
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=files)
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'partial: mean of 4 of 75 cells' in done.stdout and 'over 2 seeds' in done.stdout
    assert 'Difference from plain, paired by seed' in done.stdout
    assert (files / 'out/comparison.md').is_file() and 'written to out' in done.stdout


@pytest.mark.parametrize(
    'arguments, names',
    [
        (['dat.json', 'plain.json'], ['dat', 'plain']),
        (['plain/coco_c.json', 'dat/coco_c.json'], ['plain/coco_c', 'dat/coco_c']),
        (['plain/coco_c.json', 'dat/coco_c.json', '--names', 'a', 'b'], ['a', 'b']),
        (['dat.json', 'plain.json', 'dat_again.json', 'plain_again.json',
          '--names', 'a', 'b', 'a', 'b'], ['a', 'b']),
    ],
)
def test_names_and_order_without_files(files, monkeypatch, capsys, arguments, names):
    before = sorted(os.listdir())
    status, out, _ = run(monkeypatch, capsys, *arguments)
    assert status == 0 and f'Difference from {names[0]}' in out
    assert [line.split()[0] for line in out.splitlines()[3:5]] == names
    assert sorted(os.listdir()) == before


def test_one_result_alone_is_shown(files, monkeypatch, capsys):
    status, out, _ = run(monkeypatch, capsys, 'plain.json')
    assert status == 0 and out.startswith('Summary') and 'Difference' not in out


@pytest.mark.parametrize(
    'arguments, messages',
    [
        (['plain.json', 'rgb.json'], ['plain and rgb cannot', 'channel_order of coco_c is bgr']),
        (['plain.json', 'later.json'], ['plain and later', 'torch is 2.11.0 and 2.12.0']),
        (
            ['plain.json', 'less.json', '--names', 'a', 'b'],
            ['a and b cannot be compared', 'the second lacks snow 1, snow 3, fog 3'],
        ),
        (['plain.json', 'plain.json'], ["two results of 'plain' are of the same checkpoint"]),
        (['plain.json', 'dat.json', 'dat_again.json', '--names', 'a', 'b', 'b'],
         ['1 of a, 2 of b']),
        (['plain.json', 'dat.json', '--names', 'a'], ['expected 2 names', "got 1: 'a'"]),
        (['plain.json', 'dat.json', '--names', 'a', ' '], ["' '"]),
        (['plain.json', 'missing.json'], ['missing.json']),
        (['plain.json', 'old.json'], ['old.json has schema 1', 'evaluate again']),
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
