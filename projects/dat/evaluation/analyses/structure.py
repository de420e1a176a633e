"""Where in an image an attack acts: pictures, and whether it clusters or falls on objects.

Source: figure 3, third row, of DAT (arXiv:2209.07735), perturbations that are structured where
those in pixels are noise. Here each token's square of pixels has an amount of change, 0 or 1 for
attacks on tokens, else the perturbation's energy there. Two shares are compared with chance, each
by a permutation test over the whole set of images: the product of the amounts of squares beside
each other, when all squares of an image trade places at random; and the share inside objects'
boxes, when an image's map of amounts is shifted around as a whole, which keeps its clusters.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from projects.dat.attacks import TokenFlipAttack
from projects.dat.attacks.base import Attack
from projects.dat.training.attack_pictures import attack_sheet

from ..results import Metrics, Result
from .matched import DAT, RECONSTRUCTION, find_attacks
from .study import Study, file_name, listing, number, style
from .subject import Batch, Observe, Subject

CLUSTERING = 'clustering'
PERMUTATIONS = 999
PICTURES = 3
"""Rows of each attack's picture."""

_SIDE = 8  # px, of the squares, where an attack has no tokens


def analyze(subject: Subject, tokenizer: str, rate: float) -> Result:
    """Draw and measure every attack, and token flips that change as many tokens as DAT.

    Args:
        subject: Model and images.
        tokenizer: See ``find_attacks``.
        rate: See ``find_attacks``.

    Returns:
        By attack ``clustering``, how often neighbors change together, in units of chance, with
        ``clustering_p``; and where images have boxes ``on_objects``, the share of the change that
        falls inside them, ``on_objects_chance`` and ``on_objects_p``. A p is the share of
        permutations that reach what was found.
    """
    attacks, facts = find_attacks(subject, tokenizer, rate)
    attacks.pop(RECONSTRUCTION)
    attacks[f'dat_flip {rate:g}'] = TokenFlipAttack(attacks[DAT].tokenizer, rate)
    study = Study('structure', subject, CLUSTERING, facts)
    cells = {
        (name, 0): lambda observe, attack=attack: _measure(subject, attack, observe)
        for name, attack in attacks.items()
    }
    result = study.run(cells)
    pictures = {file_name(name): _sheet(subject, attack) for name, attack in attacks.items()}
    pictures['places'] = _places(result)
    study.write(result, pictures, _text(result))
    return result


@dataclass
class ChangeTest:
    """Sums over images, for what was found (first) and for every permutation.

    Args:
        generator: Draws the permutations.
    """

    generator: np.random.Generator
    together: np.ndarray = field(default_factory=lambda: np.zeros(1 + PERMUTATIONS))
    inside: np.ndarray = field(default_factory=lambda: np.zeros(1 + PERMUTATIONS))
    images: int = 0
    with_objects: int = 0

    def add(self, amounts: np.ndarray, objects: np.ndarray | None) -> None:
        """Add an image.

        Args:
            amounts: (h, w), of change, not negative.
            objects: (h, w), how much of each square lies on objects, or None where nothing is
                known of them.
        """
        if amounts.sum() == 0:
            return
        amounts = amounts / amounts.sum()
        rows = np.tile(amounts.flatten(), (PERMUTATIONS, 1))
        maps = self.generator.permuted(rows, axis=1).reshape(-1, *amounts.shape)
        maps = np.concatenate([amounts[None], maps])
        beside = (maps[:, :, 1:] * maps[:, :, :-1]).sum((1, 2))
        below = (maps[:, 1:] * maps[:, :-1]).sum((1, 2))
        # Each image counts alike, whatever its number of changes: in units of its own chance.
        self.together += (beside + below) / _chance_together(amounts)
        self.images += 1
        if objects is None or not 0 < objects.mean() < 1:
            return
        # The share at every shift around, by the correlation theorem.
        spectrum = np.fft.fft2(amounts).conj() * np.fft.fft2(objects)
        shifts = np.fft.ifft2(spectrum).real.flatten()
        self.inside += shifts[[0, *self.generator.integers(amounts.size, size=PERMUTATIONS)]]
        self.with_objects += 1

    def metrics(self) -> Metrics:
        """See :func:`analyze`."""
        if not self.images:
            return {CLUSTERING: 1.0, 'clustering_p': 1.0}
        found = {
            CLUSTERING: float(self.together[0] / self.images), 'clustering_p': _p(self.together)
        }
        if self.with_objects:
            inside = self.inside / self.with_objects
            found |= dict(
                on_objects=float(inside[0]), on_objects_chance=float(inside[1:].mean()),
                on_objects_p=_p(inside),
            )
        return found


def _chance_together(amounts: np.ndarray) -> float:
    """What the products of neighbors add up to on the average over all permutations."""
    height, width = amounts.shape
    pairs = height * (width - 1) + width * (height - 1)
    size = amounts.size
    mean = (amounts.sum() ** 2 - np.square(amounts).sum()) / (size * max(size - 1, 1))
    return max(pairs * mean, 1e-30)


def _p(values: np.ndarray) -> float:
    """Share of all that reach the first, itself among them."""
    return float((values >= values[0] * (1 - 1e-9)).mean())


def changes(batch: Batch) -> list[np.ndarray]:
    """Amount of change of each square of each image, without padding."""
    changed = batch.result.changed
    if changed is None:
        energy = (batch.result.images - batch.images).square().sum(1, keepdim=True) * batch.mask
        changed = F.avg_pool2d(energy, _SIDE, ceil_mode=True)[:, 0]
    return _cut(changed.double(), batch.mask)


def objects(batch: Batch) -> list[np.ndarray | None]:
    """How much of each square lies inside an image's boxes; None without boxes."""
    found = []
    for sample, mask in zip(batch.samples, batch.mask, strict=True):
        boxes = sample.gt_instances.bboxes if 'gt_instances' in sample else []
        if not len(boxes):
            found.append(None)
            continue
        inside = torch.zeros_like(mask, dtype=torch.double)
        for x1, y1, x2, y2 in boxes.round().int().tolist():
            inside[:, max(y1, 0):max(y2, 0), max(x1, 0):max(x2, 0)] = 1
        side = 2 ** round(np.log2(mask.shape[-1] / batch.result.changed.shape[-1])) if (
            batch.result.changed is not None) else _SIDE
        pooled = F.avg_pool2d(inside[None], side, ceil_mode=True)[0]
        found += _cut(pooled, mask[None])
    return found


def _cut(maps: Tensor, mask: Tensor) -> list[np.ndarray]:
    """Maps (N, h, w) without the squares that are padding alone."""
    allowed = F.adaptive_max_pool2d(mask.float(), maps.shape[1:])[:, 0].bool()
    return [
        one[free.any(1)][:, free.any(0)].cpu().numpy()
        for one, free in zip(maps, allowed, strict=True)
    ]


def _measure(subject: Subject, attack: Attack, observe: Observe) -> Metrics:
    test = ChangeTest(np.random.default_rng(subject.seed))

    def look(batch: Batch) -> None:
        amounts = changes(batch)
        for pair in zip(amounts, objects(batch), strict=True):
            test.add(*pair)
        observe(batch)

    strength = subject.attack(attack, look)
    return test.metrics() | strength


def _sheet(subject: Subject, attack: Attack) -> np.ndarray:
    """The first images: clean, reconstruction, attacked, amplified difference, changed tokens."""
    sheets = []

    def draw(batch: Batch) -> None:
        boxes = [s.gt_instances.bboxes for s in batch.samples if 'gt_instances' in s] or None
        base = batch.result.reconstruction
        base = batch.images if base is None else base
        largest = float((batch.result.images - base)[:PICTURES].abs().max())
        # The strongest change becomes black or white: attacks differ by a factor of a thousand.
        gain = max(1.0, round(0.5 / max(largest, 1e-3)))
        sheets.append(attack_sheet(batch.images, batch.mask, batch.result, boxes, gain, PICTURES))

    subject.attack(attack, draw, batches=1)
    return sheets[0]


def _places(result: Result) -> Figure:
    """How much the change of each attack clusters and, with boxes, falls on objects."""
    found = {name: x.metrics for (name, _), x in result.cells.items()}
    with_objects = any('on_objects' in metrics for metrics in found.values())
    figure = Figure((9 if with_objects else 5, 3.2), layout='constrained')
    panels = figure.subplots(1, 1 + with_objects, sharey=True, squeeze=False)[0]
    names = list(found)
    point = style(1) | dict(linestyle='none', markersize=8)
    panels[0].plot([found[name][CLUSTERING] for name in names], names, **point)
    panels[0].axvline(1, color='black', linestyle=':')
    panels[0].set(xscale='log', xlabel='changing together, in times chance')
    panels[0].invert_yaxis()
    if with_objects:
        on, chance = (
            [100 * found[name].get(key, 0) for name in names]
            for key in ('on_objects', 'on_objects_chance')
        )
        panels[1].plot(on, names, **point, label='found')
        panels[1].plot(chance, names, 'k|', markersize=16, label='by chance')
        panels[1].set(xlim=(0, 100), xlabel='change inside boxes (%)')
        panels[1].legend(loc='lower right')
    for axes in panels:
        axes.grid(alpha=0.3)
    return figure


def _text(result: Result) -> str:
    example = next(iter(result.cells.values()))
    parts = [
        f'{name} {number(m[CLUSTERING])} (p {number(m["clustering_p"], 2)})'
        for name, m in ((name, found.metrics) for (name, _), found in result.cells.items())
    ]
    text = (
        f'Over {example.num_images} images, squares beside each other change together so many '
        f'times as often as by chance: {listing(parts)}.'
    )
    inside = [
        f'{name} {number(100 * m["on_objects"])} % against {number(100 * m["on_objects_chance"])} '
        f'% (p {number(m["on_objects_p"], 2)})'
        for name, m in ((name, found.metrics) for (name, _), found in result.cells.items())
        if 'on_objects' in m
    ]
    if not inside:
        return f'{text} Nothing is known of where their objects are.'
    return f'{text} Share of the change inside boxes, and by chance: {listing(inside)}.'
