"""How well a tokenizer reconstructs, while it trains: the metric, its curves and pictures."""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.dist import master_only
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, METRICS
from tqdm import tqdm

from projects.dat.runtime.files import replacing

# How figures are called and written.
_LABELS = dict(psnr='PSNR [dB]', lpips='LPIPS', tokens_used='share of tokens used')
_FORMATS = dict(psnr='.2f', lpips='.3f', tokens_used='.1%')


@METRICS.register_module()
class ReconstructionMetric(BaseMetric):
    """Means over images of the PSNR in dB (of the range 0..1) and of LPIPS, where the model
    measures it, and the share of tokens that occur.
    """

    def process(self, data_batch, data_samples) -> None:
        """Keep each image's figures and tokens."""
        for sample in data_samples:
            mse = (sample['image'] - sample['reconstruction']).square().mean()
            figures = dict(psnr=float(-10 * mse.log10()))
            if 'lpips' in sample:
                figures['lpips'] = float(sample['lpips'])
            used = torch.zeros(sample['num_tokens'], dtype=torch.bool)
            used[sample['tokens'].flatten().cpu()] = True
            self.results.append((figures, used))

    def compute_metrics(self, results: list) -> dict:
        """Means, and the share of tokens."""
        figures = [figures for figures, _ in results]
        used = torch.stack([used for _, used in results]).any(0)
        means = {name: float(np.mean([f[name] for f in figures])) for name in figures[0]}
        return means | dict(tokens_used=float(used.float().mean()))


@HOOKS.register_module()
class ReconstructionHook(Hook):
    """After each validation: a picture of reconstructions, and the curves so far.

    On a terminal a bar shows how far a validation is. Pictures (image above reconstruction) go to
    the visualizer's backends. ``validation.csv`` and ``validation.png`` in the work folder have a
    point for every validation; a resumed run goes on with them.

    Args:
        num_images (int): How many images of the first batches a picture has. Defaults to 6.
    """

    priority = 'LOW'

    def __init__(self, num_images: int = 6):
        self.num_images = num_images
        self._columns = []

    def before_train(self, runner) -> None:
        """Drop the curves of another run in the same folder."""
        if runner.iter == 0 and runner.rank == 0:
            for suffix in ('.csv', '.png'):
                (Path(runner.work_dir) / f'validation{suffix}').unlink(missing_ok=True)

    def before_val_epoch(self, runner) -> None:
        """Start a new picture and a new bar."""
        self._columns = []
        # Not where the output is no terminal, nor on another rank.
        disable = None if runner.rank == 0 else True
        total = len(runner.val_dataloader)
        self._bar = tqdm(total=total, desc='validation', leave=False, disable=disable)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Keep the first images."""
        self._bar.update()
        for sample in outputs[: self.num_images - len(self._columns)]:
            pair = torch.cat([sample['image'], sample['reconstruction']], dim=1)
            self._columns.append((pair * 255).round().byte().permute(1, 2, 0).cpu().numpy())

    @master_only
    def after_val_epoch(self, runner, metrics: dict) -> None:
        """Write the picture, the table and the plot."""
        self._bar.close()
        sheet = np.ascontiguousarray(np.concatenate(self._columns, axis=1))
        runner.visualizer.add_image('reconstruction', sheet, step=runner.iter)
        path = Path(runner.work_dir) / 'validation.csv'
        rows = [row for row in read_validations(path) if int(row['iter']) < runner.iter]
        rows.append({'iter': runner.iter} | {k: f'{v:.4f}' for k, v in metrics.items()})
        with replacing(path) as temporary, open(temporary, 'w', newline='') as file:
            writer = csv.DictWriter(file, rows[-1], extrasaction='ignore')
            writer.writeheader()
            writer.writerows(rows)
        if len(rows) > 1:
            with replacing(path.with_suffix('.png')) as temporary:
                _plot(rows, temporary)


def read_validations(path: Path) -> list[dict[str, str]]:
    """Rows of a ``validation.csv``: 'iter' and the figures of each validation; none without it."""
    if not path.is_file():
        return []
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def figures_as_text(first: str, rows: Mapping[str, Mapping]) -> list[list[str]]:
    """The header and the rows of a table of figures.

    Args:
        first: Title of the first column.
        rows: Figures by name, of each thing that the first column names.
    """
    names = list(dict.fromkeys(name for figures in rows.values() for name in figures))
    lines = [[first, *(_LABELS.get(name, name) for name in names)]]
    for thing, figures in rows.items():
        values = [figures.get(name) for name in names]
        texts = [
            '-' if value in (None, '') else format(float(value), _FORMATS.get(name, '.4g'))
            for name, value in zip(names, values, strict=True)
        ]
        lines.append([thing, *texts])
    return lines


def _plot(rows: list[dict], path: Path) -> None:
    names = [name for name in rows[-1] if name != 'iter']
    figure = Figure(figsize=(4 * len(names), 3), layout='constrained')
    axes = figure.subplots(1, len(names), squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        points = [(int(row['iter']), float(row[name])) for row in rows if row.get(name)]
        axis.plot(*zip(*points, strict=True), marker='.')
        axis.set(xlabel='iteration', ylabel=_LABELS.get(name, name))
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
