import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

from projects.dat.corruptions.names import BENCHMARK, GROUPS, HOLDOUT
from projects.dat.evaluation import plots
from projects.dat.evaluation.comparison import Comparison
from projects.dat.evaluation.results import CLEAN, Result
from tests.evaluation.result_case import (
    make_classifier_result,
    make_comparison,
    make_identity,
    matrix,
)

NAMES = ['plain', 'det-advprop', 'dat']
GRIDS = {
    'full': {},
    'small': dict(corruptions=('gaussian_noise', 'fog'), severities=(1, 3)),
    'one cell': dict(corruptions=('fog',), severities=(3,)),
    'hold-out': dict(corruptions=(*BENCHMARK, *HOLDOUT)),
    'no clean images': dict(clean=None),
}
DRAWN = [plots.severity_curves, plots.difference_heatmaps, plots.clean_against_corrupted]


def results(comparison):
    return [runs[0] for runs in comparison.methods.values()]


def pixels(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


@pytest.mark.parametrize('grid', GRIDS)
def test_curves_are_means_over_the_group(grid):
    comparison = make_comparison(NAMES, **GRIDS[grid])
    corruptions = GRIDS[grid].get('corruptions', BENCHMARK)
    severities = list(GRIDS[grid].get('severities', (1, 2, 3, 4, 5)))
    clean = GRIDS[grid].get('clean', 0.4) is not None
    groups = {name: [c for c in x if c in corruptions] for name, x in GROUPS.items()}
    groups['hold-out'] = [c for c in HOLDOUT if c in corruptions]
    groups = {name: members for name, members in groups.items() if members}
    panels = plots.severity_curves(comparison).axes
    assert [axes.get_title().split()[0].strip(',') for axes in panels] == list(groups)
    for axes, members in zip(panels, groups.values(), strict=True):
        for line, result in zip(axes.get_lines(), results(comparison), strict=True):
            expected = 100 * matrix(result, members, severities).mean(0)
            np.testing.assert_array_equal(line.get_xdata(), [0] * clean + severities)
            np.testing.assert_allclose(line.get_ydata(), [40] * clean + list(expected))
        ticks = [text.get_text() for text in axes.get_xticklabels()]
        assert ticks == ['clean'] * clean + list(map(str, severities))


def test_an_incomplete_group_says_so():
    def titles(grid):
        figure = plots.severity_curves(make_comparison(NAMES, **GRIDS[grid]))
        return [axes.get_title() for axes in figure.axes]

    assert titles('small') == [
        'noise, 2 of 15 cells:\ngaussian_noise', 'weather, 2 of 20 cells:\nfog'
    ]
    assert titles('hold-out') == [*GROUPS, 'hold-out (never in mPC)']


@pytest.mark.parametrize('grid', GRIDS)
def test_heatmaps_show_differences_centered_on_zero(grid):
    comparison = make_comparison(NAMES, **GRIDS[grid])
    corruptions = GRIDS[grid].get('corruptions', BENCHMARK)
    severities = GRIDS[grid].get('severities', (1, 2, 3, 4, 5))
    figure = plots.difference_heatmaps(comparison)
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == NAMES[1:]
    ap = [100 * matrix(result, corruptions, severities) for result in results(comparison)]
    for axes, own in zip(panels, ap[1:], strict=True):
        image = axes.images[0]
        np.testing.assert_allclose(image.get_array(), own - ap[0])
        assert image.norm.vmin == -image.norm.vmax
        assert image.norm.vmax == pytest.approx(max(abs(x - ap[0]).max() for x in ap[1:]))
        texts = np.array([float(text.get_text()) for text in axes.texts])
        np.testing.assert_allclose(texts, (own - ap[0]).ravel(), atol=0.05001)


def test_heatmap_of_equal_runs_and_of_cells_that_no_run_has():
    comparison = make_comparison(['a', 'b'], corruptions=('snow', 'fog'), severities=(2, 4))
    first, second = results(comparison)
    del first.cells['fog', 4]
    second.cells = first.cells
    axes = plots.difference_heatmaps(comparison).axes[0]
    assert [text.get_text() for text in axes.texts] == ['0.0'] * 3
    assert np.ma.masked_invalid(axes.images[0].get_array()).mask.tolist() == [
        [False, False], [False, True]
    ]


@pytest.mark.parametrize(
    'grid, label, line',
    [
        ('full', 'mPC (coco/bbox_mAP x 100)', 'same rPC as plain'),
        ('hold-out', 'mPC (coco/bbox_mAP x 100)', 'same rPC as plain'),
        (
            'small',
            'partial: mean of 4 of 75 cells (coco/bbox_mAP x 100)',
            'same ratio to clean as plain',
        ),
    ],
)
def test_clean_against_corrupted(grid, label, line):
    comparison = make_comparison(NAMES, **GRIDS[grid])
    figure = plots.clean_against_corrupted(comparison)
    axes = figure.axes[0]
    assert axes.get_ylabel() == label
    *points, guide = axes.get_lines()
    counted = [c for c in GRIDS[grid].get('corruptions', BENCHMARK) if c in BENCHMARK]
    severities = GRIDS[grid].get('severities', (1, 2, 3, 4, 5))
    for point, result in zip(points, results(comparison), strict=True):
        y = 100 * matrix(result, counted, severities).mean()
        np.testing.assert_allclose(point.get_xydata(), [[40, y]])
        low, high = axes.get_ylim()
        assert low < y < high
    assert guide.get_slope() == pytest.approx(points[0].get_ydata()[0] / 40)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [text.split()[0] for text in texts[:3]] == NAMES and texts[3] == line


@pytest.mark.parametrize('changes', [dict(clean=None), dict(corruptions=HOLDOUT)])
def test_no_point_without_clean_images_or_benchmark_cells(changes):
    assert plots.clean_against_corrupted(make_comparison(NAMES, **changes)) is None


def test_error_bars_are_standard_deviations_over_seeds():
    comparison = make_comparison(NAMES, seeds=3)
    axes = plots.severity_curves(comparison).axes[0]
    figure = plots.clean_against_corrupted(comparison)
    curves = [matrix(x, GROUPS['noise']).mean(0) for x in comparison.methods['dat']]
    mean, std = 100 * np.mean(curves, 0), 100 * np.std(curves, 0, ddof=1)
    np.testing.assert_allclose(axes.get_lines()[2].get_ydata()[1:], mean)
    ends = np.array(axes.collections[2].get_segments())[1:, :, 1]
    np.testing.assert_allclose(ends, np.stack([mean - std, mean + std], 1))
    mpc = 100 * np.array([matrix(x).mean() for x in comparison.methods['dat']])
    vertical = figure.axes[0].collections[5].get_segments()[0][:, 1]
    np.testing.assert_allclose(vertical, mpc.mean() + np.array([-1, 1]) * mpc.std(ddof=1))
    assert not plots.severity_curves(make_comparison(NAMES)).axes[0].collections


def test_heatmaps_over_seeds_show_paired_means_with_stars():
    comparison = make_comparison(NAMES, seeds=2)
    figure = plots.difference_heatmaps(comparison)
    axes = [axes for axes in figure.axes if axes.get_title() == 'dat'][0]
    plain, dat = ([matrix(x) for x in comparison.methods[name]] for name in ('plain', 'dat'))
    pairs = 100 * (np.array(dat) - np.array(plain))
    np.testing.assert_allclose(axes.images[0].get_array(), pairs.mean(0))
    stars = np.array([text.get_text().endswith('*') for text in axes.texts]).reshape(15, 5)
    np.testing.assert_array_equal(stars, abs(pairs.mean(0)) > pairs.std(0, ddof=1))
    assert 0 < stars.sum() < 75 and '2 seeds' in figure.get_suptitle()


def test_sets_of_other_kinds_are_drawn():
    cells = {
        'coco_o': ['cartoon', 'sketch'], 'dat': [0.019, 0.038],
        'other sets': ['imagenet_a', 'imagenet_r'], 'pgd': ['1/255', '4/255', '16/255'],
    }
    runs = []
    for run in range(2):
        runs.append(Result(make_identity(run)))
        runs[-1].add(CLEAN, {'coco/bbox_mAP': 0.5}, 5)
        for group, levels in cells.items():
            for i, level in reversed(list(enumerate(levels, 1))):
                cell = (level, 0) if group == 'other sets' else (group, level)
                runs[-1].add(cell, {'coco/bbox_mAP': 0.1 * i}, 5)
    comparison = Comparison({'a': runs[:1], 'b': runs[1:]})
    panels = plots.severity_curves(comparison).axes
    assert [axes.get_title() for axes in panels] == list(cells)
    for axes, levels in zip(panels, cells.values(), strict=True):
        shown = [text.get_text() for text in axes.get_xticklabels()]
        assert shown == ['clean', *map(str, levels)] and axes.get_xlabel() == ''
        for line in axes.get_lines():
            np.testing.assert_array_equal(line.get_xdata(), range(len(levels) + 1))
            expected = [50, *(10 * i for i in range(1, len(levels) + 1))]
            np.testing.assert_allclose(line.get_ydata(), expected)
            words = axes.get_title() in ('coco_o', 'other sets')
            assert (line.get_linestyle() == 'None') == words
    # Of corruptions there are none.
    assert plots.difference_heatmaps(comparison) is None
    assert plots.clean_against_corrupted(comparison) is None


def test_a_classifiers_mean_is_no_mpc():
    comparison = Comparison({name: [make_classifier_result(i)] for i, name in enumerate('ab')})
    axes = plots.clean_against_corrupted(comparison).axes[0]
    assert axes.get_ylabel() == 'mean corrupted (accuracy/top1 x 100)'
    assert axes.get_lines()[-1].get_label() == 'same ratio to clean as a'
    shown = plots.difference_heatmaps(comparison).axes[0].images[0].get_array()
    assert shown.shape == (15, 5)


@pytest.mark.parametrize('seeds', [1, 2])
@pytest.mark.parametrize('draw', DRAWN)
@pytest.mark.parametrize(
    'names, grid',
    [
        (NAMES, 'full'),
        (['x' * 70 + str(i) for i in range(6)], 'small'),
        (['_hidden', 'two tokens and $x_{$', r'back\slash $'], 'one cell'),
    ],
)
def test_pictures_have_content_and_no_overlaps(draw, names, grid, seeds):
    figure = draw(make_comparison(names, seeds, **GRIDS[grid]))
    picture = pixels(figure)
    assert min(picture.shape[:2]) > 150
    assert len(np.unique(picture @ (1, 256, 65536))) > 50  # colors
    height, width = picture.shape[:2]
    boxes = [axes.get_window_extent() for axes in figure.axes]
    boxes += [axes.title.get_window_extent() for axes in figure.axes if axes.get_title()]
    boxes += [axes.yaxis.label.get_window_extent() for axes in figure.axes if axes.get_ylabel()]
    boxes += [legend.get_window_extent() for legend in figure.legends]
    for box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
    for a, b in itertools.combinations(boxes, 2):
        assert not a.overlaps(b)
    if draw is not plots.difference_heatmaps:
        shown = [text.get_text() for text in figure.legends[0].get_texts()]
        assert [
            text.replace('\n', '').replace(r'\$', '$').startswith(name)
            for text, name in zip(shown, names, strict=False)
        ] == [True] * len(names)


def test_neighboring_runs_differ_without_color():
    styles = [plots._style(run) for run in range(12)]
    grays = [np.dot(to_rgb(style['color']), (0.299, 0.587, 0.114)) for style in styles]
    assert all(abs(a - b) > 0.1 for a, b in itertools.pairwise(grays[:4]))
    assert all(a['marker'] != b['marker'] for a, b in itertools.pairwise(styles))
    assert len({(style['color'], style['marker']) for style in styles}) == 12


@pytest.mark.parametrize('seeds', [1, 3])
def test_training_time_against_corrupted(seeds):
    """Of the methods whose time is known."""
    comparison = make_comparison(NAMES, seeds, costs={'plain': 1, 'dat': 2.5})
    figure = plots.time_against_corrupted(comparison)
    axes = figure.axes[0]
    for point, name, cost in zip(axes.get_lines(), ('plain', 'dat'), (1, 2.5), strict=True):
        mpc = 100 * np.array([matrix(x).mean() for x in comparison.methods[name]])
        np.testing.assert_allclose(point.get_xydata(), [[cost, mpc.mean()]])
    assert len(axes.collections) == (2 if seeds > 1 else 0)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[1] == f'dat (2.50, {mpc.mean():.1f})'
    assert 'in that of plain training' in axes.get_xlabel() and axes.get_xlim()[0] == 0


def test_no_training_times_no_picture():
    assert plots.time_against_corrupted(make_comparison(NAMES)) is None
