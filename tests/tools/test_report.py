"""tools/report.py as a command."""

import sys

import pytest

from projects.dat.runtime import cli
from tests.evaluation.result_case import make_result
from tools import report


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['report.py', *map(str, arguments)])
    cli.run(report.main)


def test_the_path_of_the_page_is_printed(tmp_path, monkeypatch, capsys):
    make_result(0).save(tmp_path / 'coco_c.json')
    run(monkeypatch, tmp_path)
    assert capsys.readouterr().out == f'wrote {tmp_path}/report.html\n'
    assert (tmp_path / 'report.html').read_text().startswith('<!doctype html>')


@pytest.mark.parametrize('name, message', [('none', 'does not exist'), ('.', 'but found none')])
def test_mistakes_are_one_sentence(tmp_path, monkeypatch, capsys, name, message):
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, tmp_path / name)
    error = capsys.readouterr().err
    assert ended.value.code == 2 and message in error and error.count('\n') == 1
