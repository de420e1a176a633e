import csv
import io
import os
import re
import statistics

import numpy as np
import pytest
from PIL import Image

from projects.dat.corruptions.names import BENCHMARK, GROUPS, HOLDOUT
from projects.dat.evaluation import report, summaries, write_report
from projects.dat.evaluation.comparison import Comparison
from projects.dat.evaluation.tables import to_terminal
from projects.dat.runtime.errors import UserError
from tests.evaluation.result_case import (
    METRIC,
    SMALL,
    make_classifier_result,
    make_comparison,
    make_result,
    matrix,
)

NAMES = ['plain', 'det-advprop', 'dat']
PICTURES = ['clean_against_corrupted.png', 'differences.png', 'severity_curves.png']
TABLES = ['comparison.csv', 'comparison.md', 'summary.csv']
GRIDS = {
    'full': {},
    'small': dict(corruptions=('gaussian_noise', 'fog'), severities=(1, 3)),
    'one severity': dict(corruptions=('gaussian_noise', 'fog'), severities=(3,)),
    'hold-out': dict(corruptions=(*BENCHMARK, *HOLDOUT)),
}


def numbers(table):
    """Numbers in the cells of a table, (rows, columns, numbers in a cell)."""
    found = [[list(map(float, re.findall(r'[-+]?\d+\.\d', x))) for x in row[1:]]
             for row in table.rows]
    return np.array(found)


def quantities(result):
    """Of the summary, in per cent, in the table's order."""
    ap = matrix(result)
    groups = [ap[:3].mean(), ap[3:7].mean(), ap[7:11].mean(), ap[11:].mean()]
    return 100 * np.array([0.4, ap.mean(), ap.mean() / 0.4, *groups])


@pytest.mark.parametrize('seeds', [1, 3])
def test_summary_in_points_and_differences_from_the_first(seeds):
    comparison = make_comparison(NAMES, seeds)
    absolute, difference = report.summary_tables(comparison)
    header = ['method', 'clean', 'mPC', 'rPC %', 'noise', 'blur', 'weather', 'digital']
    assert absolute.header == difference.header == header
    assert [row[0] for row in absolute.rows] == NAMES
    assert [row[0] for row in difference.rows] == NAMES[1:]
    values = np.array([[quantities(x) for x in runs] for runs in comparison.methods.values()])
    for table, expected in ((absolute, values), (difference, values[1:] - values[0])):
        found = numbers(table)
        np.testing.assert_allclose(found[..., 0], expected.mean(1), atol=0.05001)
        if seeds > 1:
            np.testing.assert_allclose(found[..., 1], expected.std(1, ddof=1), atol=0.05001)
            assert f'{seeds} seeds' in absolute.title and 'paired by seed' in difference.title
        else:
            assert found.shape[-1] == 1 and '±' not in to_terminal(table)
    pairs = values[1:] - values[0]
    starred = [[text.endswith('*') for text in row[1:]] for row in difference.rows]
    larger = abs(pairs.mean(1)) > pairs.std(1, ddof=1) if seeds > 1 else np.zeros((2, 7))
    assert starred == larger.astype(bool).tolist()
    # The draws are such that both occur.
    assert seeds == 1 or 0 < np.sum(starred) < 14
    assert ('* The mean difference' in report.terminal_text(comparison)) == (seeds > 1)


def test_summary_of_partial_results_never_says_mpc():
    for table in report.summary_tables(make_comparison(NAMES, **GRIDS['small'])):
        assert table.header == ['method', 'clean', 'partial: mean of 4 of 75 cells']
    shown = report.summary_tables(make_comparison(NAMES, **GRIDS['one severity']))
    text = ''.join(map(to_terminal, shown))
    assert 'partial: mean of 2 of 75 cells' in text and 'mPC' not in text and 'rPC' not in text


def test_groups_that_are_complete_stay_in_a_partial_summary():
    noise = ('gaussian_noise', 'shot_noise', 'impulse_noise')
    table = report.summary_tables(make_comparison(NAMES, corruptions=noise))[0]
    assert table.header == ['method', 'clean', 'partial: mean of 15 of 75 cells', 'noise']
    assert table.rows[0][2] == table.rows[0][3]


def test_other_metrics_of_clean_and_corrupted_images():
    methods = {}
    for i, method in enumerate(NAMES):
        result = make_result(i, **GRIDS['small'])
        for j, found in enumerate(result.cells.values()):
            found.metrics['coco/bbox_mAP_50'] = 0.1 * i + 0.01 * j
        methods[method] = [result]
    table, = report.metric_tables(Comparison(methods))
    # There are no small objects.
    assert table.header == ['method', 'images', 'bbox_mAP_50']
    assert table.rows == [
        [method, *row] for method, *rows in zip(
            NAMES, [['clean', '0.0'], ['clean', '10.0'], ['clean', '20.0']],
            [['mean of 4', '2.5'], ['mean of 4', '12.5'], ['mean of 4', '22.5']], strict=True)
        for row in rows
    ]
    assert report.metric_tables(make_comparison(NAMES)) == []


@pytest.mark.parametrize('seeds', [1, 2])
@pytest.mark.parametrize('grid', GRIDS)
def test_cells_in_points_with_differences_in_brackets(grid, seeds):
    comparison = make_comparison(NAMES, seeds, **GRIDS[grid])
    corruptions = GRIDS[grid].get('corruptions', BENCHMARK)
    severities = GRIDS[grid].get('severities', (1, 2, 3, 4, 5))
    shown = report.cell_tables(comparison)
    assert [table.title.split()[0] for table in shown] == NAMES
    first = None
    for table, runs in zip(shown, comparison.methods.values(), strict=True):
        ap = 100 * np.mean([matrix(x, corruptions, severities) for x in runs], axis=0)
        if len(severities) > 1:
            ap = np.concatenate([ap, ap.mean(1, keepdims=True)], axis=1)
        assert table.header[0] == 'corruption'
        assert table.header[1:len(severities) + 1] == list(map(str, severities))
        assert [row[0].removesuffix(' (hold-out)') for row in table.rows] == list(corruptions)
        assert sum('(hold-out)' in row[0] for row in table.rows) == max(0, len(corruptions) - 15)
        found = numbers(table)
        np.testing.assert_allclose(found[..., 0], ap, atol=0.05001)
        if first is None:
            first = ap
        else:
            np.testing.assert_allclose(found[..., 1], ap - first, atol=0.05001)


def classifiers(seeds=1, **grid):
    return Comparison({
        name: [make_classifier_result(seeds * i + seed, **grid) for seed in range(seeds)]
        for i, name in enumerate(NAMES)
    })


def test_errors_are_marked_in_the_summary_of_classifiers():
    comparison = classifiers()
    absolute, difference = report.summary_tables(comparison)
    assert absolute.header == difference.header == [
        'method', 'clean', 'mean corrupted', 'mCE ↓', 'relative mCE ↓', *GROUPS,
    ]
    assert '↓: lower is better' in absolute.title
    (plain,), (dat,) = comparison.methods['plain'], comparison.methods['dat']
    values = [100 * summaries.imagenet_c(x)['mCE'] for x in (plain, dat)]
    assert numbers(absolute)[2, 2] == pytest.approx(values[1], abs=0.0501)
    assert numbers(difference)[1, 2] == pytest.approx(values[1] - values[0], abs=0.0501)
    text = report.terminal_text(comparison)
    assert "AlexNet's" in text and 'rPC' not in text and 'mPC' not in text
    for table in report.summary_tables(classifiers(seeds=3)):
        assert max(map(len, to_terminal(table).splitlines())) <= 120
    part = report.terminal_text(classifiers(corruptions=('fog',), severities=(3,)))
    assert 'mCE needs all 75 cells' in part and 'mPC' not in part and 'AlexNet' not in part


@pytest.mark.parametrize('corruptions', [(), ('fog', 'snow')])
@pytest.mark.parametrize('seeds', [1, 2])
def test_other_sets_have_a_table_of_their_own(corruptions, seeds):
    comparison = classifiers(seeds, corruptions=corruptions, severities=(2,))
    *grids, others = report.cell_tables(comparison)
    assert len(grids) == (len(NAMES) if corruptions else 0)
    for grid in grids:
        assert [row[0] for row in grid.rows] == ['snow', 'fog'] and grid.header[1:] == ['2']
    assert others.title == 'Other sets (accuracy/top1 x 100; difference from plain)'
    assert others.header == ['set', 'images', *NAMES]
    assert [row[:2] for row in others.rows] == [
        ['fgsm 4/255', '7'], ['fgsm 16/255', '8'], ['imagenet_a', '9'], ['imagenet_r', '10'],
    ]
    # Accuracies are 1 % for each run and row.
    first = (seeds - 1) / 2
    star = '*' if seeds > 1 else ''
    for i, row in enumerate(others.rows):
        assert row[2:] == [f'{first + i:.1f}'] + [
            f'{first + i + change:.1f} (+{change:.1f}{star})' for change in (seeds, 2 * seeds)
        ]
    text = report.terminal_text(comparison)
    assert 'All cells but other sets have 50 images.' in text
    rows = list(csv.DictReader(io.StringIO(report.summary_csv(comparison))))
    found = {(x['method'], x['quantity']): x for x in rows}
    assert float(found['dat', 'fgsm 16/255']['mean']) == pytest.approx(
        0.01 * (2 * seeds + first + 1))
    assert float(found['dat', 'imagenet_a']['difference']) == pytest.approx(0.02 * seeds)


def test_other_sets_alone(tmp_path):
    comparison = classifiers(corruptions=(), clean=None)
    text = write_report(comparison, tmp_path)
    assert text.startswith('Other sets (accuracy/top1') and 'images.' not in text
    assert sorted(os.listdir(tmp_path)) == sorted([PICTURES[2], *TABLES])


def test_cells_that_no_result_has():
    runs = [make_result(i, corruptions=('snow', 'fog'), severities=(2, 4)) for i in range(2)]
    for run in runs:
        del run.cells['fog', 4]
    snow, fog = report.cell_tables(Comparison({'a': [runs[0]], 'b': [runs[1]]}))[1].rows
    assert '-' not in snow
    assert fog[0] == 'fog' and fog[2:] == ['-', '-'] and '(' in fog[1]


@pytest.mark.parametrize('seeds', [1, 3])
@pytest.mark.parametrize('grid', GRIDS)
def test_terminal_lines_are_aligned_and_fit(grid, seeds):
    comparison = make_comparison(NAMES, seeds, **GRIDS[grid])
    for table in report.summary_tables(comparison) + report.cell_tables(comparison):
        title, header, rule, *rows = to_terminal(table).splitlines()
        assert title == table.title and set(rule) == {'-'}
        assert {len(row) for row in rows} == {len(header)} == {len(rule)}
        assert len(header) <= 120


@pytest.mark.parametrize('grid', GRIDS)
def test_cells_csv_has_every_number_in_full(grid):
    comparison = make_comparison(NAMES, 2, **GRIDS[grid])
    rows = list(csv.DictReader(io.StringIO(report.cells_csv(comparison))))
    expected = {}
    for name, results in comparison.methods.items():
        for run, result in enumerate(results):
            first = comparison.methods['plain'][run]
            for cell, found in result.cells.items():
                for metric, value in found.metrics.items():
                    other = first.cells[cell].metrics[metric]
                    expected[(name, run + 1, *cell, metric)] = (value, value - other)
    keys = [(x['method'], int(x['run']), x['set'], int(x['level']), x['metric']) for x in rows]
    assert len(rows) == len(expected)
    found = [(float(x['value']), float(x['difference'])) for x in rows]
    assert dict(zip(keys, found, strict=True)) == expected


def test_cells_csv_leaves_out_what_is_not_known():
    runs = [make_result(i, corruptions=('fog',), severities=(1,), clean=None) for i in range(2)]
    runs[0].cells['fog', 1].metrics[SMALL] = None
    comparison = Comparison({'a': [runs[0]], 'b,"c"': [runs[1]]})
    rows = list(csv.DictReader(io.StringIO(report.cells_csv(comparison))))
    assert [x['method'] for x in rows] == ['a', 'a', 'b,"c"', 'b,"c"']
    assert {x['set'] for x in rows} == {'fog'}
    small = [x for x in rows if x['metric'] != METRIC]
    assert [(x['value'], x['difference']) for x in small] == [('', ''), ('-1.0', '')]


def test_summary_csv():
    comparison = make_comparison(NAMES, 3)
    rows = list(csv.DictReader(io.StringIO(report.summary_csv(comparison))))
    assert len(rows) == 3 * 7 and {x['seeds'] for x in rows} == {'3'}
    found = {(x['method'], x['quantity']): x for x in rows}
    means = [[matrix(x).mean() for x in runs] for runs in comparison.methods.values()]
    pairs = [a - b for a, b in zip(means[2], means[0], strict=True)]
    for column, expected in (
        ('mean', statistics.mean(means[2])), ('std', statistics.stdev(means[2])),
        ('difference', statistics.mean(pairs)), ('difference_std', statistics.stdev(pairs)),
    ):
        assert float(found['dat', 'mPC'][column]) == pytest.approx(expected, rel=1e-9)
    (single, *_) = csv.DictReader(io.StringIO(report.summary_csv(make_comparison(['a']))))
    assert (single['std'], single['difference_std'], single['difference']) == ('', '', '0.0')


@pytest.mark.parametrize('grid', [{}, dict(corruptions=('fog', 'snow'), severities=(3,))])
def test_report(tmp_path, grid):
    out = tmp_path / 'new' / 'folder'
    text = write_report(make_comparison(NAMES, 2, **grid), out)
    assert sorted(os.listdir(out)) == sorted(PICTURES + TABLES)
    markdown = (out / 'comparison.md').read_text()
    for name in PICTURES:
        assert f']({name})' in markdown
        picture = Image.open(out / name).convert('RGB')
        assert min(picture.size) > 200
        assert len(picture.getcolors(picture.width * picture.height)) > 50
    label = 'partial: mean of 2 of 75 cells' if grid else 'mPC'
    names = [row['quantity'] for row in csv.DictReader((out / 'summary.csv').open())]
    assert label in text and label in markdown and label in names
    if grid:
        assert not any('mPC ' in x for x in markdown.splitlines() if x.startswith('|'))
        assert 'mPC' not in names and 'mPC and rPC need the clean images and all 75' in text


def test_a_single_result_is_shown_without_differences(tmp_path):
    text = write_report(make_comparison(['dat']), tmp_path)
    assert 'ifference' not in text and '50 images' in text
    assert sorted(os.listdir(tmp_path)) == sorted([PICTURES[0], PICTURES[2], *TABLES])


def test_a_picture_of_an_earlier_report_does_not_stay(tmp_path):
    (tmp_path / 'clean_against_corrupted.png').write_bytes(b'old')
    write_report(make_comparison(NAMES[:2], corruptions=HOLDOUT, severities=(3,)), tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(PICTURES[1:] + TABLES)
    assert 'clean_against' not in (tmp_path / 'comparison.md').read_text()


def test_a_failing_write_leaves_the_old_file_alone(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, 'no space left')

    (tmp_path / 'severity_curves.png').write_bytes(b'old')
    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(UserError, match='no space left'):
        write_report(make_comparison(NAMES[:2], corruptions=('fog',), severities=(3,)), tmp_path)
    assert os.listdir(tmp_path) == ['severity_curves.png']
    assert (tmp_path / 'severity_curves.png').read_bytes() == b'old'


@pytest.mark.parametrize('names', [NAMES[:2], NAMES[:1]])
def test_a_report_that_cannot_be_written(tmp_path, names):
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match='cannot be written'):
        write_report(make_comparison(names), tmp_path / 'file')
    assert os.listdir(tmp_path) == ['file']


def test_training_times_have_a_column_a_row_and_a_picture(tmp_path):
    comparison = make_comparison(NAMES, 2, costs={'plain': 1, 'dat': 2.456})
    text = write_report(comparison, tmp_path)
    table = report.summary_tables(comparison)[0]
    assert table.header[-1] == 'training time'
    assert [row[-1] for row in table.rows] == ['1.00', '-', '2.46']
    assert 'Training times are in that of plain training' in text
    rows = list(csv.DictReader((tmp_path / 'summary.csv').open()))
    times = {row['method']: row['mean'] for row in rows if row['quantity'] == 'training time'}
    assert times == {'plain': '1', 'dat': '2.456'}
    assert (tmp_path / 'time_against_corrupted.png').exists()
    write_report(make_comparison(NAMES), tmp_path)
    assert not (tmp_path / 'time_against_corrupted.png').exists()
