"""Where the energy of a perturbation lies among frequencies.

Source: figure 3, second row, of DAT (arXiv:2209.07735), log spectra with the zero frequency in the
middle; their exact formula is not published. Here an image's power spectrum is the mean over its
channels of the squared magnitude of their Fourier transforms, divided by its sum, so that all
images count alike; shown is its mean over the images.
"""

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from projects.dat.attacks import PixelAttack
from projects.dat.attacks.base import Attack
from projects.dat.attacks.perturbations import l2_norm
from projects.dat.runtime.errors import UserError
from projects.dat.runtime.files import replacing

from ..results import CLEAN, Metrics, Result
from .matched import DAT, RECONSTRUCTION, find_attacks
from .study import Study, file_name, listing, number, style
from .subject import Batch, NoAttack, Observe, Subject

GRID = 64
"""Spectra of images of all sizes are brought to so many frequencies a side."""

CUTOFFS = (1 / 16, 1 / 8, 1 / 4)
"""Cycles per pixel: what a grid of tokens of 8 pixels can tell, twice and four times that."""

LOW = 'low/0.0625'
EQUAL_L2 = 'pgd_l2'
_RINGS = 32  # of the radial curve, up to half a cycle per pixel


def analyze(subject: Subject, tokenizer: str, rate: float) -> Result:
    """Measure the spectra of what every attack adds.

    That is the difference to Q(x) for attacks on tokens and to the image for attacks on pixels; for
    Q(x) itself it is what the tokenizer loses, and 'clean' is the image, less its mean.

    Args:
        subject: Model and images.
        tokenizer: See ``find_attacks``.
        rate: See ``find_attacks``.

    Returns:
        By attack, also PGD within an L2 ball of DAT's mean length: ``low/F``, the share of energy
        below F cycles per pixel, ``radial/F``, the share in rings that end at F, and ``l2``.
    """
    attacks, facts = find_attacks(subject, tokenizer, rate)
    attacks = {CLEAN[0]: NoAttack(), **attacks}
    study = Study('frequency', subject, LOW, facts)

    def measure(name: str, attack: Attack, observe: Observe) -> Metrics:
        file = study.folder / f'spectrum_{file_name(name)}.npy'
        return _measure(subject, name, attack, file, observe)

    def cells(attacks: dict[str, Attack]) -> dict:
        return {
            (name, 0): lambda observe, name=name, attack=attack: measure(name, attack, observe)
            for name, attack in attacks.items()
        }

    length = study.run(cells(attacks)).cells[DAT, 0].metrics['l2']
    attacks[EQUAL_L2] = PixelAttack('L2', length, length / 2, 5, random_start=1.0)
    result = study.run(cells(attacks))
    pictures = dict(spectra=_spectra(result, study.folder), radial=_radial(result))
    study.write(result, pictures, _text(result))
    return result


def perturbation(batch: Batch, name: str) -> Tensor:
    """What the attack of this name added to the images of a batch; see :func:`analyze`."""
    if name == CLEAN[0]:
        return batch.images - batch.images.mean((2, 3), keepdim=True)
    reconstruction = batch.result.reconstruction
    if name == RECONSTRUCTION or reconstruction is None:
        return batch.result.images - batch.images
    return batch.result.images - reconstruction


def power_spectrum(delta: Tensor) -> Tensor:
    """Density of energy, that of white noise being 1, (GRID, GRID), zero in the middle.

    Args:
        delta: (3, H, W).
    """
    power = torch.fft.fft2(delta.double(), norm='ortho').abs().square().mean(0)
    places = [
        ((torch.fft.fftfreq(size, device=delta.device) + 0.5) * GRID).long().clamp(0, GRID - 1)
        for size in power.shape
    ]
    places = (places[0][:, None] * GRID + places[1]).flatten()
    density = power.flatten() / power.mean().clamp(min=1e-30)
    grid, counts = power.new_zeros(2, GRID * GRID)
    grid.index_add_(0, places, density)
    counts.index_add_(0, places, torch.ones_like(density))
    return (grid / counts.clamp(min=1)).view(GRID, GRID)


def radial_energy(delta: Tensor) -> tuple[Tensor, list[float]]:
    """Share of energy in rings (_RINGS + 1,), the last beyond half a cycle, and below CUTOFFS."""
    power = torch.fft.fft2(delta.double(), norm='ortho').abs().square().mean(0)
    y, x = (torch.fft.fftfreq(size, device=delta.device) for size in power.shape)
    radius = (y[:, None].square() + x.square()).sqrt()
    power = power / power.sum().clamp(min=1e-30)
    rings = (radius * 2 * _RINGS).long().clamp(max=_RINGS)
    curve = power.new_zeros(_RINGS + 1).index_add_(0, rings.flatten(), power.flatten())
    return curve, [float(power[radius < cutoff].sum()) for cutoff in CUTOFFS]


def _measure(
    subject: Subject, name: str, attack: Attack, file: Path, observe: Observe
) -> Metrics:
    spectrum, curve, shares, lengths = 0, 0, [], []

    def look(batch: Batch) -> None:
        nonlocal spectrum, curve
        delta = perturbation(batch, name) * batch.mask
        lengths.append(l2_norm(delta).flatten())
        for one, mask in zip(delta, batch.mask, strict=True):
            one = one[:, mask[0].any(1)][..., mask[0].any(0)]
            spectrum = spectrum + power_spectrum(one)
            ring, low = radial_energy(one)
            curve = curve + ring
            shares.append(low)
        observe(batch)

    strength = subject.attack(attack, look)
    with replacing(file) as temporary:
        np.save(temporary, (spectrum / len(shares)).cpu().numpy())
    rings = (curve / len(shares)).tolist()
    return {
        **{f'low/{c}': float(x) for c, x in zip(CUTOFFS, np.mean(shares, 0), strict=True)},
        'l2': float(torch.cat(lengths).mean()),
        **{f'radial/{(i + 1) / 2 / _RINGS:g}': rings[i] for i in range(_RINGS)},
        **strength,
    }


def _spectra(result: Result, folder: Path) -> Figure:
    """A map for each attack: log10 of the energy against that of white noise."""
    names = [name for name, _ in result.cells]
    columns = -(-len(names) // 2)
    figure = Figure((2.2 * columns + 1, 4.8), layout='constrained')
    panels = figure.subplots(2, columns, sharex=True, sharey=True).flat
    for axes in list(panels)[len(names):]:
        axes.remove()
    for axes, name in zip(figure.axes, names, strict=True):
        file = folder / f'spectrum_{file_name(name)}.npy'
        if not file.is_file():
            raise UserError(
                f'expected {file} beside the figures that were made with it, found none: delete '
                f'{folder} and run the analysis again'
            )
        density = np.load(file)
        image = axes.imshow(
            np.log10(np.maximum(density, 1e-6)), 'viridis', vmin=-2, vmax=2,
            extent=(-0.5, 0.5, 0.5, -0.5),
        )
        axes.set_title(name, fontsize='medium')
        axes.set_xticks([-0.5, 0, 0.5])
        axes.set_yticks([-0.5, 0, 0.5])
        axes.tick_params(labelbottom=True)
    bar = figure.colorbar(image, ax=figure.axes, fraction=0.03)
    bar.set_label('energy against white noise, log10')
    figure.supxlabel('cycles per pixel', fontsize='medium')
    return figure


def _radial(result: Result) -> Figure:
    figure = Figure((8, 4.5), layout='constrained')
    axes = figure.subplots()
    for i, ((name, _), found) in enumerate(result.cells.items()):
        rings = {
            float(key.removeprefix('radial/')): value
            for key, value in found.metrics.items() if key.startswith('radial/')
        }
        axes.plot(list(rings), np.cumsum(list(rings.values())) * 100, label=name,
                  **style(i) | dict(markersize=4, markevery=4))
    for cutoff in CUTOFFS:
        axes.axvline(cutoff, color='0.5', linestyle=':', linewidth=1)
    axes.set(xlabel='frequency (cycles per pixel)', ylabel='energy below it (%)', ylim=(0, 100),
             xlim=(0, 0.5))
    axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc='outside lower center', ncols=4)
    return figure


def _text(result: Result) -> str:
    parts = [
        f'{name} {number(100 * found.metrics[LOW])} % (L2 {number(found.metrics["l2"])})'
        for (name, _), found in result.cells.items()
    ]
    count = next(iter(result.cells.values())).num_images
    return (
        f'Share of the energy below 1/16 cycles per pixel, over {count} images, of what each '
        f'attack adds (clean: of the image; reconstruction: of what the tokenizer loses): '
        f'{listing(parts)}.'
    )
