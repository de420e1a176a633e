import numpy as np
import pytest
import torch

from projects.dat.evaluation.analyses import colors
from projects.dat.evaluation.analyses.colors import SIDE, count_colors
from projects.dat.evaluation.results import CLEAN


def test_colors_are_counted_as_by_hand():
    torch.manual_seed(0)
    levels = torch.randint(0, 4, (2, 3, 35, 50))
    images = levels / 255 + 0.001  # rounds to the level
    mask = torch.ones(2, 1, 35, 50, dtype=torch.bool)
    mask[1, :, :, 40:] = False
    for image, covered, wide in zip(levels, count_colors(images, mask), (48, 32), strict=True):
        expected = []
        for y in range(0, 32, SIDE):
            for x in range(0, wide, SIDE):
                patch = image[:, y:y + SIDE, x:x + SIDE].flatten(1).T
                expected.append(len({tuple(pixel) for pixel in patch.tolist()}))
        assert covered.item() == pytest.approx(np.mean(expected))


@pytest.mark.parametrize('subject', ['classifier'], indirect=True)
def test_of_every_attack(subject, toy):
    result = colors.analyze(subject, toy, 0.2)
    clean = result.cells[CLEAN].metrics
    assert clean['colors/of_clean'] == 1
    assert clean['colors/q5'] <= clean['colors/q50'] <= clean['colors/q95'] <= SIDE**2
    assert ('pgd 4/255', 0) in result.cells
