import math
from pathlib import Path

import numpy as np
import pytest
import torch

from projects.dat.evaluation.analyses import frequency
from projects.dat.evaluation.analyses.frequency import GRID, power_spectrum, radial_energy
from projects.dat.runtime.errors import UserError


def wave(cycles, size=96):
    """A wave with so many cycles per pixel along x, the same in all channels."""
    x = torch.arange(size) * 2 * math.pi * cycles
    return x.cos().expand(3, size, size)


@pytest.mark.parametrize('cycles', [4 / 96, 10 / 96, 20 / 96, 40 / 96])
def test_a_wave_lies_at_its_frequency(cycles):
    spectrum = power_spectrum(wave(cycles))
    ys, xs = np.nonzero(spectrum.numpy() > spectrum.sum().item() / 5)
    assert set(ys) == {GRID // 2}
    assert sorted(xs) == [math.floor((f + 0.5) * GRID) for f in (-cycles, cycles)]
    curve, low = radial_energy(wave(cycles))
    assert curve.sum().item() == pytest.approx(1)
    assert low == pytest.approx([float(cycles < cutoff) for cutoff in frequency.CUTOFFS], abs=1e-9)
    assert curve.argmax().item() == int(cycles * 2 * 32)


def test_white_noise_is_flat():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(3, 256, 192, generator=generator)
    _, low = radial_energy(noise)
    for share, cutoff in zip(low, frequency.CUTOFFS, strict=True):
        assert share == pytest.approx(math.pi * cutoff**2, rel=0.1)
    assert power_spectrum(noise).numpy() == pytest.approx(np.ones((GRID, GRID)), abs=0.9)
    nothing = power_spectrum(torch.zeros(3, 64, 64))
    assert nothing.sum() == 0


@pytest.mark.parametrize('subject', ['classifier'], indirect=True)
def test_of_every_attack(subject, toy):
    result = frequency.analyze(subject, toy, 0.2)
    found = {name: x.metrics for (name, _), x in result.cells.items()}
    assert found['pgd_l2']['l2'] == pytest.approx(found['dat']['l2'], rel=0.1)
    # What the attack added is that to the reconstruction, which without one is nothing.
    assert found['reconstruction']['l2'] > found['dat']['l2'] > 0


@pytest.mark.parametrize('subject', ['classifier'], indirect=True)
def test_a_spectrum_that_was_deleted(subject, toy):
    frequency.analyze(subject, toy, 0.2)
    (Path(subject.cfg.work_dir) / 'analyses/frequency/spectrum_dat.npy').unlink()
    with pytest.raises(UserError, match='delete .*frequency and run the analysis again'):
        frequency.analyze(subject, toy, 0.2)
