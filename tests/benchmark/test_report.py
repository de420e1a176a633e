import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from projects.dat.benchmark import plots, tables
from projects.dat.benchmark.report import terminal_text, write_report
from projects.dat.benchmark.results import BASE, BOUND, PLAIN, RECIPE
from projects.dat.runtime.errors import UserError
from tests.benchmark.samples import FAST, make_result

CONSTANTS = ('bound, 8/3', PLAIN)


def cells(table):
    return {row[0]: dict(zip(table.header[1:], row[1:], strict=True)) for row in table.rows}


def test_ratios():
    shown = tables.ratio_tables(make_result())
    assert [table.title for table in shown] == [
        f'{size} px, batch {batch} (plain step = 1)' for size in (256, 512) for batch in (1, 2)
    ]
    first, last = cells(shown[0]), cells(shown[-1])
    assert list(first) == [PLAIN, FAST, RECIPE]
    assert first[FAST] == {
        'tokenize': '0.20', '(search)': '0.10', '(product)': '-', 'detokenize': '0.10',
        'reconstruct': '0.30', 'attack': '1.25', 'step': '3.00', 'min..max': '2.90..3.50',
        'speed': '0.33',
        'peak MiB': '180',
    }
    assert first[PLAIN]['step'] == first[PLAIN]['speed'] == '1.00'
    assert first[PLAIN]['attack'] == '-'
    assert first[RECIPE]['step'] == '100' and first[RECIPE]['speed'] == '0.01'
    assert set(last[RECIPE].values()) == {'-'}


def test_times():
    """512 px and two images: eight seconds a plain step, a quarter of an image a second."""
    shown = tables.time_tables(make_result('cuda'))[-1]
    assert shown.title == '512 px, batch 2 (milliseconds)'
    rows = cells(shown)
    assert rows[PLAIN]['step'] == '8000' and rows[PLAIN]['min..max'] == '8000..16000'
    assert rows[PLAIN]['images/s'] == '0.25'
    assert rows[FAST]['attack'] == '10000' and rows[FAST]['images/s'] == '0.08'


def test_every_quantity_has_its_spread():
    shown = tables.spread_tables(make_result())
    assert len(shown) == 4
    first = cells(shown[0])
    assert list(first)[0] == PLAIN and len(first) == 10
    assert first[f'{FAST}: step'] == {
        'median': '3.00', 'min': '2.90', 'max': '3.50', 'calls a sample': '1', 'peak MiB': '180',
    }
    assert f'{RECIPE}: step' not in cells(shown[-1])


def test_without_a_plain_step_there_is_no_ratio(tmp_path):
    """As where it ran out of memory."""
    result = make_result()
    plain = result.find(512, 2, FAST, BASE)
    plain.seconds, plain.skipped = [], 'ran out of memory'
    write_report(result, tmp_path)
    assert cells(tables.ratio_tables(result)[-1])[FAST]['step'] == '-'
    assert cells(tables.time_tables(result)[-1])[FAST]['step'] == '24000'


@pytest.mark.parametrize(
    'value, text',
    [(0.0004, '0.0004'), (0.031, '0.03'), (2.996, '3.00'), (31.44, '31.4'), (612.4, '612')],
)
def test_numbers(value, text):
    assert tables.number(value) == text


def test_changes_of_a_precision():
    result = make_result()
    assert tables.change_table(result) is None and 'Changes' not in terminal_text(result)
    changes = dict(
        encode_changed_tokens=0.0312, decode_changed_tokens=0.005, decode_mean_change=0.21,
        decode_max_change=7.25,
    )
    result.precision_changes = [dict(row='fast bf16', size=256, images=8, **changes)]
    table = tables.change_table(result)
    assert table.title == 'Changes against fp32, 8 photographs of 256 px'
    assert table.rows == [['fast bf16', '3.12 %', '0.50 %', '0.21', '7.2']]
    assert '3.12 %' in terminal_text(result)


def test_times_are_printed_of_a_gpu_only():
    assert 'milliseconds' not in terminal_text(make_result('cpu'))
    assert 'milliseconds' in terminal_text(make_result('cuda'))


def test_the_terminal_says_what_was_skipped():
    text = terminal_text(make_result())
    assert f'{RECIPE}, step, 512 px, batch 2: skipped, its matrices need too much.' in text
    assert 'published: random weights.' in text and '8/3 = 2.67' in text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
def test_files(tmp_path, device):
    write_report(make_result(device), tmp_path / 'out')
    names = {path.name for path in (tmp_path / 'out').iterdir()}
    assert names == {'benchmark.json', 'benchmark.md', *plots_names()}
    text = (tmp_path / 'out' / 'benchmark.md').read_text()
    assert "tools/benchmark.py --out 'a folder'" in text
    assert all(f'({name})' in text for name in plots_names())
    assert ('milliseconds' in text) == (device == 'cuda')
    for name in plots_names():
        assert np.asarray(Image.open(tmp_path / 'out' / name).convert('L')).std() > 10


def plots_names():
    return {'cost_by_size.png', 'cost_by_batch.png'}


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='name another folder'):
        write_report(make_result(), tmp_path / 'file' / 'out')


@pytest.mark.parametrize('draw, titles, places', [
    (plots.cost_by_size, ['batch 1', 'batch 2'], [256, 512]),
    (plots.cost_by_batch, ['256 px', '512 px'], [1, 2]),
])
def test_pictures(draw, titles, places):
    figure = draw(make_result())
    assert [axes.get_title() for axes in figure.axes] == titles
    for panel, axes in enumerate(figure.axes):
        assert axes.get_yscale() == 'log'
        fast, recipe = (bars.lines[0] for bars in axes.containers)
        assert list(fast.get_xdata()) == places
        assert list(fast.get_ydata()) == pytest.approx([3, 3])
        # Of the last group the recipe was skipped.
        assert list(recipe.get_ydata()) == pytest.approx([100, 100] if panel == 0 else [100])
        constants = [line.get_ydata() for line in axes.lines if line.get_label() in CONSTANTS]
        assert constants == [[BOUND] * 2, [1] * 2]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {FAST, RECIPE, *CONSTANTS} == set(labels)


def test_lines_can_be_told_apart_without_colors():
    figure = plots.cost_by_size(make_result())
    lines = [bars.lines[0] for bars in figure.axes[0].containers]
    assert len({(line.get_marker(), line.get_linestyle()) for line in lines}) == len(lines)
    gray = [np.dot(to_rgb(line.get_color()), (0.3, 0.6, 0.1)) for line in lines]
    assert abs(gray[0] - gray[1]) > 0.2


def test_one_point_is_a_picture_too(tmp_path):
    write_report(make_result(sizes=(256,), batches=(1,)), tmp_path)
    assert plots_names() <= {path.name for path in tmp_path.iterdir()}
