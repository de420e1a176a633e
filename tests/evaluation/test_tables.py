import csv
import io
import re

import numpy as np
import pytest

from projects.dat.corruptions.names import BENCHMARK, HOLDOUT
from projects.dat.evaluation import tables
from projects.dat.evaluation.comparison import Comparison
from tests.evaluation.comparison_case import METRIC, make_result, matrix

NAMES = ['plain', 'det-advprop', 'dat']
GRIDS = {
    'full': {},
    'small': dict(corruptions=('gaussian_noise', 'fog'), severities=(1, 3)),
    'one severity': dict(corruptions=('gaussian_noise', 'fog'), severities=(3,)),
    'hold-out': dict(corruptions=(*BENCHMARK, *HOLDOUT)),
}


def compare(**changes):
    return Comparison([make_result(i, clean=0.4 + i / 100, **changes) for i in range(3)], NAMES)


def numbers(table):
    """Numbers in the cells of a table, (rows, columns, numbers in a cell)."""
    found = [[list(map(float, re.findall(r'[-+.\d]+', x))) for x in row[1:]] for row in table.rows]
    return np.array(found)


def test_summary_in_points_and_differences_from_the_first():
    comparison = compare()
    absolute, difference = tables.summary_tables(comparison)
    header = ['run', 'clean', 'mPC', 'rPC %', 'noise', 'blur', 'weather', 'digital']
    assert absolute.header == difference.header == header
    assert [row[0] for row in absolute.rows] == NAMES
    assert [row[0] for row in difference.rows] == NAMES[1:]
    expected = []
    for i, result in enumerate(comparison.results):
        ap, clean = matrix(result), 0.4 + i / 100
        groups = [ap[:3].mean(), ap[3:7].mean(), ap[7:11].mean(), ap[11:].mean()]
        expected.append([clean, ap.mean(), ap.mean() / clean, *groups])
    expected = 100 * np.array(expected)
    np.testing.assert_allclose(numbers(absolute)[..., 0], expected, atol=0.05001)
    np.testing.assert_allclose(
        numbers(difference)[..., 0], expected[1:] - expected[0], atol=0.05001
    )
    assert all(re.fullmatch(r'[+-]\d+\.\d| 0\.0', x) for row in difference.rows for x in row[1:])


def test_summary_of_partial_runs_never_says_mpc():
    for table in tables.summary_tables(compare(**GRIDS['small'])):
        assert table.header == ['run', 'clean', 'partial: mean of 4 of 75 cells']
    shown = tables.summary_tables(compare(**GRIDS['one severity']))
    text = ''.join(map(tables.to_terminal, shown))
    assert 'partial: mean of 2 of 75 cells' in text and 'mPC' not in text and 'rPC' not in text


def test_groups_that_are_complete_stay_in_a_partial_summary():
    noise = ('gaussian_noise', 'shot_noise', 'impulse_noise')
    comparison = compare(corruptions=noise)
    table = tables.summary_tables(comparison)[0]
    assert table.header == ['run', 'clean', 'partial: mean of 15 of 75 cells', 'noise']
    assert table.rows[0][2] == table.rows[0][3]


@pytest.mark.parametrize('grid', GRIDS)
def test_cells_in_points_with_differences_in_brackets(grid):
    comparison = compare(**GRIDS[grid])
    corruptions = GRIDS[grid].get('corruptions', BENCHMARK)
    severities = GRIDS[grid].get('severities', (1, 2, 3, 4, 5))
    shown = tables.cell_tables(comparison)
    assert [table.title.split()[0] for table in shown] == NAMES
    first = None
    for table, result in zip(shown, comparison.results, strict=True):
        ap = 100 * matrix(result, corruptions, severities)
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


def test_cells_that_no_run_has():
    grid = dict(corruptions=('snow', 'fog'), severities=(2, 4))
    runs = [make_result(i, **grid) for i in range(2)]
    for run in runs:
        del run.cells['fog'][4]
    snow, fog = tables.cell_tables(Comparison(runs, ['a', 'b']))[1].rows
    assert '-' not in snow
    assert fog[0] == 'fog' and fog[2:] == ['-', '-'] and '(' in fog[1]


@pytest.mark.parametrize(
    'difference, text',
    [(0.0123, '+1.2'), (-0.0123, '-1.2'), (0.0004, ' 0.0'), (-0.0004, ' 0.0'), (None, '-')],
)
def test_signed(difference, text):
    assert tables.signed(difference) == text


@pytest.mark.parametrize('grid', GRIDS)
def test_terminal_lines_are_aligned_and_fit(grid):
    comparison = compare(**GRIDS[grid])
    for table in tables.summary_tables(comparison) + tables.cell_tables(comparison):
        title, header, rule, *rows = tables.to_terminal(table).splitlines()
        assert title == table.title and set(rule) == {'-'}
        assert {len(row) for row in rows} == {len(header)} == {len(rule)}
        assert len(header) <= 110


def test_long_names_are_broken_in_the_terminal_and_whole_in_markdown():
    names = ['x' * 130 + '1', 'x' * 130 + '2']
    table = tables.summary_tables(Comparison([make_result(0), make_result(1)], names))[0]
    lines = tables.to_terminal(table).splitlines()[1:]
    assert max(map(len, lines)) <= 100
    assert ''.join(line.split()[0] for line in lines if line.startswith('x')) == ''.join(names)
    assert names[1] in tables.to_markdown(table)


def test_markdown():
    table = tables.Table('T', ['run', 'mPC'], [['a|b', '1.0']])
    assert tables.to_markdown(table) == '## T\n\n| run | mPC |\n| --- | ---: |\n| a\\|b | 1.0 |\n'


@pytest.mark.parametrize('grid', GRIDS)
def test_cells_csv_has_every_number_in_full(grid):
    comparison = compare(**GRIDS[grid])
    rows = list(csv.DictReader(io.StringIO(tables.cells_csv(comparison))))
    first = comparison.results[0]
    expected = {}
    for name, result in zip(NAMES, comparison.results, strict=True):
        for metric, value in result.clean.items():
            expected[name, 'clean', 0, metric] = (value, value - first.clean[metric])
        for corruption, cells in result.cells.items():
            for severity, metrics in cells.items():
                for metric, value in metrics.items():
                    other = first.cells[corruption][severity][metric]
                    expected[name, corruption, severity, metric] = (value, value - other)
    keys = [(x['run'], x['corruption'], int(x['severity']), x['metric']) for x in rows]
    assert len(rows) == len(expected)
    found = [(float(x['value']), float(x['difference'])) for x in rows]
    assert dict(zip(keys, found, strict=True)) == expected


def test_cells_csv_leaves_out_what_is_not_known():
    runs = [make_result(i, corruptions=('fog',), severities=(1,), clean=None) for i in range(2)]
    runs[0].cells['fog'][1]['coco/bbox_mAP_s'] = None
    rows = list(csv.DictReader(io.StringIO(tables.cells_csv(Comparison(runs, ['a', 'b,"c"'])))))
    assert [x['run'] for x in rows] == ['a', 'a', 'b,"c"', 'b,"c"']
    assert {x['corruption'] for x in rows} == {'fog'}
    small = [x for x in rows if x['metric'] != METRIC]
    assert [(x['value'], x['difference']) for x in small] == [('', ''), ('-1.0', '')]


def test_summary_csv():
    comparison = compare()
    rows = list(csv.DictReader(io.StringIO(tables.summary_csv(comparison))))
    assert len(rows) == 3 * 7
    found = {(x['run'], x['quantity']): (float(x['value']), float(x['difference'])) for x in rows}
    means = [matrix(result).mean() for result in comparison.results]
    assert found['dat', 'mPC'] == pytest.approx((means[2], means[2] - means[0]), rel=1e-12)
    ratios = [mean / (0.4 + i / 100) for i, mean in enumerate(means)]
    assert found['dat', 'rPC'] == pytest.approx((ratios[2], ratios[2] - ratios[0]), rel=1e-12)
