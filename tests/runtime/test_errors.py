"""How a process ends with a user's mistake, whoever's command it is."""

import subprocess
import sys
from pathlib import Path

import pytest

from projects.dat.runtime import errors
from projects.dat.runtime.errors import ArgumentError, UserError, sentence

ROOT = Path(__file__).resolve().parents[2]


def _run(code):
    code = f'from projects.dat.runtime.errors import *\ninstall_excepthook()\n{code}'
    return subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize('code', [
    "raise UserError('alpha is 7: use 1')",
    "raise ArgumentError('alpha is 7: use 1')",
    "try: 1 / 0\nexcept ZeroDivisionError: raise UserError('alpha is 7: use 1')",
    "install_excepthook()\nraise UserError('alpha is 7: use 1')",
])
def test_uncaught_mistake_is_one_sentence_and_status_2(code):
    run = _run(code)
    assert (run.returncode, run.stdout, run.stderr) == (2, '', 'error: alpha is 7: use 1\n')


def test_other_exceptions_keep_their_trace():
    run = _run('{}[3]')
    assert run.returncode == 1
    assert run.stderr.startswith('Traceback') and run.stderr.endswith('KeyError: 3\n')


@pytest.mark.parametrize('kind', [UserError, ArgumentError])
def test_sentence_of_a_loaders_worker(kind):
    # As torch's ExceptionWrapper raises it again.
    told = kind(
        'Caught X in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n'
        f'  File "a.py", line 3\nprojects.dat.runtime.errors.{kind.__name__}: no image: put one\n'
    )
    assert sentence(told) == 'no image: put one'
    assert sentence(kind('no image: put one')) == 'no image: put one'


def test_other_ranks_let_rank_0_speak_first(capsys, monkeypatch):
    spoken_at = []
    monkeypatch.setenv('LOCAL_RANK', '1')
    monkeypatch.setattr('time.sleep', lambda s: spoken_at.append((s, capsys.readouterr().err)))
    with pytest.raises(SystemExit) as exit_:
        errors.leave('broken')
    assert exit_.value.code == 2
    assert spoken_at == [(errors.RANK_0_HEAD_START, '')]
    assert capsys.readouterr().err == 'error: broken\n'
