"""The pictures of `make demo`; import projects.dat.register before this."""

import contextlib
import io
import json
from collections.abc import Mapping
from pathlib import Path

import mmcv
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from mmdet.apis import inference_detector, init_detector

from projects.dat.corruptions import corrupt
from projects.dat.evaluation.comparison import Comparison
from projects.dat.evaluation.plots import COLORS
from projects.dat.evaluation.show import DESCRIPTION
from projects.dat.evaluation.summaries import Quantity
from projects.dat.runtime.files import replacing

NOISE = 'gaussian_noise'
SCORE = 0.4  # of the least detection that is drawn


def read_losses(run: Path) -> list[dict]:
    """What all starts of a run's training logged."""
    lines = []
    for file in sorted(run.glob('*/vis_data/scalars.json')):
        lines += file.read_text().splitlines()
    return [x for x in map(json.loads, lines) if 'loss' in x]


def draw_curves(
    runs: Mapping[str, Path], comparison: Comparison, quantities: Mapping[str, Quantity],
    path: Path,
) -> None:
    """Losses and changed tokens of a run of each method, and quantities of all methods."""
    figure = Figure((16, 4), layout='constrained')
    losses, tokens, bars = figure.subplots(1, 3, width_ratios=(3, 3, 5))
    for i, (name, run) in enumerate(runs.items()):
        logged, color = read_losses(run), COLORS[i]
        steps = [x['step'] for x in logged]
        losses.plot(steps, [x['loss'] for x in logged], '.-', color=color, label=name)
        if 'attack/token_change' in logged[-1]:
            changed = [100 * x.get('attack/token_change', float('nan')) for x in logged]
            tokens.plot(steps, changed, '.-', color=color, label=name)
        spreads = [comparison.absolute(name, quantity) for quantity in quantities.values()]
        width = 0.8 / len(runs)
        places = [place + (i - (len(runs) - 1) / 2) * width for place in range(len(spreads))]
        errors = [100 * (x.std or 0) for x in spreads]
        means = [100 * x.mean for x in spreads]
        bars.bar(places, means, width, yerr=errors, capsize=3, color=color, label=name)
    losses.set(title='training loss, seed 0', xlabel='iteration', ylim=(0, None))
    tokens.axhline(3.8, color='gray', linestyle=':', label='target')
    tokens.set(title='tokens that the attack changes, %', xlabel='iteration', ylim=(0, None))
    bars.set_xticks(range(len(quantities)), quantities)
    # Room for the legend above the bars.
    title = f'validation, points: mean and spread over {comparison.seeds} seeds'
    bars.set(title=title, ylim=(0, 125), yticks=range(0, 101, 20))
    for axes in (losses, tokens, bars):
        axes.legend(loc='upper right' if axes is bars else 'lower right', ncols=3)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


def draw_detections(
    config: Path, checkpoints: Mapping[str, Path], images: list[Path], severity: int, path: Path
) -> None:
    """A row an image: what each detector finds on it, as it is and with noise."""
    device = 'cuda:0' if torch.cuda.is_available() else 'cpu'
    with contextlib.redirect_stdout(io.StringIO()):  # MMEngine tells what it loads
        models = {
            name: init_detector(str(config), str(file), device=device)
            for name, file in checkpoints.items()
        }
    columns = [(name, noisy) for noisy in (False, True) for name in models]
    figure = Figure((3.6 * len(columns), 3.6 * len(images) + 0.3), layout='constrained')
    grid = figure.subplots(len(images), len(columns), squeeze=False)
    for axes, (name, noisy) in zip(grid[0], columns, strict=True):
        image = f'noise of severity {severity}' if noisy else 'clean'
        axes.set_title(f'{name}, {image}', fontsize=18, pad=10)
    for row, file in zip(grid, images, strict=True):
        clean = mmcv.imread(str(file))
        for axes, (name, noisy) in zip(row, columns, strict=True):
            image = corrupt(clean, NOISE, severity, 0) if noisy else clean
            axes.imshow(image[..., ::-1], interpolation='nearest')
            axes.set_axis_off()
            found = inference_detector(models[name], image).pred_instances
            _draw_boxes(axes, found[found.scores >= SCORE], models[name].dataset_meta['classes'])
    words = (
        f'{len(images)} test images, a row each, without and with noise of severity {severity}, '
        f'and the objects that {" and ".join(models)} find in them.'
    )
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=70, metadata={DESCRIPTION: words})


def _draw_boxes(axes: Axes, found, classes: tuple[str, ...]) -> None:
    for box, label, score in zip(found.bboxes, found.labels, found.scores, strict=True):
        left, top, right, bottom = box.tolist()
        color = COLORS[1 + int(label) % (len(COLORS) - 1)]
        axes.add_patch(Rectangle(
            (left, top), right - left, bottom - top, fill=False, edgecolor=color, linewidth=2.5))
        axes.text(
            left + 1, top + 1, f'{classes[label]} {score:.2f}', va='top', fontsize=14, clip_on=True,
            bbox=dict(facecolor=color, edgecolor='none', pad=1.5))
