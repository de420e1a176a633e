"""How far the statistics of batch norms on attacked images are from those on clean images.

Source: figure 2 of DAT (arXiv:2209.07735), a histogram of Pearson correlations between the
statistics on clean and on adversarial images. Which layers and batches it is over is not published.
Here a value is a layer's: the correlation over its channels between the means (or variances) of
what it is given in a batch of clean images and in the same batch under attack, averaged over the
batches.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from projects.dat.attacks.base import Attack
from projects.dat.runtime.errors import UserError

from ..results import Metrics, Result
from .matched import find_attacks
from .study import Study, listing, number, style
from .subject import Batch, NoAttack, Observe, Subject

MEAN, VARIANCE = 'pcc_mean', 'pcc_variance'
Statistics = dict[str, tuple[Tensor, Tensor]]
"""By layer, mean and variance of each channel."""


def analyze(subject: Subject, tokenizer: str, rate: float) -> Result:
    """Measure the correlations under every attack.

    Args:
        subject: Model and images.
        tokenizer: See ``find_attacks``.
        rate: See ``find_attacks``.

    Returns:
        By attack ``pcc_mean`` and ``pcc_variance``, the means over the layers, and
        ``pcc_mean/LAYER`` and ``pcc_variance/LAYER``.

    Raises:
        UserError: The model has no batch norms.
    """
    if not any(isinstance(module, _BatchNorm) for module in subject.model.modules()):
        raise UserError(
            f'expected batch norms in {type(subject.model).__name__}, found none: give a model '
            'that has some'
        )
    attacks, facts = find_attacks(subject, tokenizer, rate)
    clean = _statistics(subject, NoAttack())[0]

    def measure(attack: Attack, observe: Observe) -> Metrics:
        found, strength = _statistics(subject, attack, observe)
        return _compare(clean, found) | strength

    study = Study('bn_statistics', subject, MEAN, facts)
    cells = {
        (name, 0): lambda observe, attack=attack: measure(attack, observe)
        for name, attack in attacks.items()
    }
    result = study.run(cells)
    study.write(result, dict(bn_statistics=_histograms(result), layers=_layers(result)),
                _text(result))
    return result


@contextmanager
def watch(model: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """Inside, what each batch norm was given since the last batch was ready, by its name.

    Each is a list of calls (heads may call one on several maps), of (count, sum, sum of squares)
    by channel: what the attack's own passes left is dropped when the batch is ready.
    """
    seen = defaultdict(list)

    def record(name: str, inputs: Tensor) -> None:
        values = inputs.detach().double().transpose(0, 1).flatten(1)
        count = torch.full_like(values[:, 0], values.shape[1])
        seen[name].append(torch.stack([count, values.sum(1), values.square().sum(1)]))

    handles = [model.data_preprocessor.register_forward_hook(lambda *_: seen.clear())]
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            handles.append(module.register_forward_pre_hook(
                lambda _, inputs, name=name: record(name, inputs[0])
            ))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _statistics(
    subject: Subject, attack: Attack, observe: Observe = lambda batch: None
) -> tuple[list[Statistics], Metrics]:
    """The statistics of every batch under attack, and the attack's strength."""
    batches = []
    with watch(subject.model) as seen:

        def collect(batch: Batch) -> None:
            found = {}
            for name, calls in seen.items():
                count, total, squares = torch.stack(calls).sum(0)
                mean = total / count
                found[name] = mean, squares / count - mean.square()
            batches.append(found)
            observe(batch)

        strength = subject.attack(attack, collect)
    return batches, strength


def _compare(clean: list[Statistics], attacked: list[Statistics]) -> Metrics:
    metrics, layers = {}, clean[0].keys()
    for i, name in enumerate((MEAN, VARIANCE)):
        for layer in layers:
            pairs = zip(clean, attacked, strict=True)
            values = [_correlation(a[layer][i], b[layer][i]) for a, b in pairs]
            metrics[f'{name}/{layer}'] = float(np.mean(values))
        metrics[name] = float(np.mean([metrics[f'{name}/{layer}'] for layer in layers]))
    return metrics


def _correlation(x: Tensor, y: Tensor) -> float:
    """Pearson's, over channels; 1 where both are constant and the same."""
    if torch.equal(x, y):
        return 1.0
    return float(torch.corrcoef(torch.stack([x, y]))[0, 1].nan_to_num())


def _by_layer(metrics: Metrics, name: str) -> list[float]:
    return [value for key, value in metrics.items() if key.startswith(f'{name}/')]


def _histograms(result: Result) -> Figure:
    """A row for each attack, as they lie over each other; a line at the mean."""
    count = len(result.cells)
    figure = Figure((9, 0.75 * count + 1), layout='constrained')
    panels = figure.subplots(count, 2, sharex='col', sharey=True, squeeze=False)
    for column, name in enumerate((MEAN, VARIANCE)):
        values = [_by_layer(found.metrics, name) for found in result.cells.values()]
        edges = np.linspace(min(map(min, values)) - 0.02, 1, 31)
        for row, ((attack, _), found) in enumerate(zip(result.cells, values, strict=True)):
            axes = panels[row, column]
            axes.hist(found, edges, color=style(2)['color'])
            axes.axvline(np.mean(found), color='black', linestyle='--')
            axes.grid(alpha=0.3)
            if column == 0:
                axes.set_ylabel(attack, rotation=0, ha='right', va='center')
        what = name.removeprefix('pcc_') + 's'
        panels[-1, column].set_xlabel(f'correlation of {what}')
    figure.suptitle(
        "number of layers by their statistics' correlation with those on clean images; "
        'dashed: mean', fontsize='medium',
    )
    return figure


def _layers(result: Result) -> Figure:
    """From the first layer to the last."""
    figure = Figure((11, 4.5), layout='constrained')
    for axes, name in zip(figure.subplots(1, 2), (MEAN, VARIANCE), strict=True):
        for i, ((attack, _), found) in enumerate(result.cells.items()):
            values = _by_layer(found.metrics, name)
            axes.plot(range(1, len(values) + 1), values, label=attack, **style(i) | dict(
                markersize=3, linewidth=1
            ))
        what = name.removeprefix('pcc_') + 's'
        axes.set(xlabel='batch norm, from the first on', ylabel=f'correlation of {what}')
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc='outside lower center', ncols=4)
    return figure


def _text(result: Result) -> str:
    example = next(iter(result.cells.values()))
    parts = [
        f'{name} {number(found.metrics[MEAN], 4)} and {number(found.metrics[VARIANCE], 4)} '
        f'(loss {number(found.metrics["attack/objective_after"])})'
        for (name, _), found in result.cells.items()
    ]
    return (
        f'Mean correlation over {len(_by_layer(example.metrics, MEAN))} batch norms between the '
        f'statistics on {example.num_images} clean images and on the same images under attack, of '
        f'means and of variances: {listing(parts)}.'
    )
