import csv
import os

import pytest
from PIL import Image

from projects.dat.corruptions.names import HOLDOUT
from projects.dat.evaluation import write_report
from projects.dat.runtime.errors import UserError
from tests.evaluation.comparison_case import make_result

NAMES = ['plain', 'det-advprop', 'dat']
PICTURES = ['clean_against_corrupted.png', 'differences.png', 'severity_curves.png']
TABLES = ['comparison.csv', 'comparison.md', 'summary.csv']


@pytest.mark.parametrize('grid', [{}, dict(corruptions=('fog', 'snow'), severities=(3,))])
def test_report(tmp_path, grid):
    out = tmp_path / 'new' / 'folder'
    text = write_report([make_result(i, **grid) for i in range(3)], NAMES, out)
    assert sorted(os.listdir(out)) == sorted(PICTURES + TABLES)
    markdown = (out / 'comparison.md').read_text()
    for name in PICTURES:
        assert f']({name})' in markdown
        picture = Image.open(out / name).convert('RGB')
        assert min(picture.size) > 200
        assert len(picture.getcolors(picture.width * picture.height)) > 50
    label = 'partial: mean of 2 of 75 cells' if grid else 'mPC'
    quantities = [row['quantity'] for row in csv.DictReader((out / 'summary.csv').open())]
    assert label in text and label in markdown and label in quantities
    if grid:
        assert not any('mPC' in x for x in (text, markdown, *quantities))
    assert len(list(csv.reader((out / 'comparison.csv').open()))) == 1 + 3 * 2 * (3 if grid else 76)


def test_a_picture_of_an_earlier_report_does_not_stay(tmp_path):
    grid = dict(corruptions=HOLDOUT, severities=(3,))
    (tmp_path / 'clean_against_corrupted.png').write_bytes(b'old')
    write_report([make_result(i, **grid) for i in range(2)], NAMES[:2], tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(PICTURES[1:] + TABLES)
    assert 'clean_against' not in (tmp_path / 'comparison.md').read_text()


def test_a_failing_write_leaves_the_old_file_alone(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, 'no space left')

    (tmp_path / 'severity_curves.png').write_bytes(b'old')
    monkeypatch.setattr(os, 'replace', fail)
    grid = dict(corruptions=('fog',), severities=(3,))
    with pytest.raises(UserError, match='no space left'):
        write_report([make_result(i, **grid) for i in range(2)], NAMES[:2], tmp_path)
    assert os.listdir(tmp_path) == ['severity_curves.png']
    assert (tmp_path / 'severity_curves.png').read_bytes() == b'old'


def test_refusals_write_nothing(tmp_path):
    (tmp_path / 'file').touch()
    runs = [make_result(0), make_result(1)]
    with pytest.raises(UserError, match='cannot be written'):
        write_report(runs, NAMES[:2], tmp_path / 'file')
    with pytest.raises(UserError, match='plain and dat cannot be compared'):
        write_report([runs[0], make_result(1, clean=None)], ['plain', 'dat'], tmp_path / 'out')
    assert os.listdir(tmp_path) == ['file']
