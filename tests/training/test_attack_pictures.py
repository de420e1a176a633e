"""Pictures of an attack: what lies in which column."""

import numpy as np
import pytest
import torch

from projects.dat.attacks import AttackResult
from projects.dat.training.attack_pictures import COLUMNS, GAP, attack_sheet


def sheet_of(height, width, **kwargs):
    """Two images under an attack that darkens, and changed one token each: cells, and the strip."""
    images = torch.full((2, 3, height, width), 0.8)
    changed = torch.zeros(2, height // 8, width // 8, dtype=torch.bool)
    changed[0, 0, 1] = changed[1, -1, -1] = True
    result = AttackResult(images - 0.2, {}, reconstruction=images - 0.15, changed=changed)
    mask = torch.ones(2, 1, height, width, dtype=torch.bool)
    mask[..., width // 2:] = False
    sheet = attack_sheet(images, mask, result, **kwargs)
    factor = 1 if width >= 256 else -(-256 // width)
    strip = len(sheet) - 2 * (height * factor + GAP) - GAP
    cells = [
        [
            sheet[strip:][
                GAP + y * (height * factor + GAP):(y + 1) * (height * factor + GAP),
                GAP + x * (width * factor + GAP):(x + 1) * (width * factor + GAP)]
            for x in range(len(COLUMNS))
        ]
        for y in range(2)
    ]
    return cells, sheet[:strip]


@pytest.mark.parametrize('height, width, factor', [(64, 64, 4), (128, 256, 1)])
def test_cells_by_column(height, width, factor):
    cells, _ = sheet_of(height, width)
    for (clean, reconstruction, adversarial, difference, tokens), place in zip(
        cells, [(0, 8), (height - 8, width - 8)], strict=True
    ):
        assert clean.shape == (height * factor, width * factor, 3)
        for cell, value in ((clean, 0.8), (reconstruction, 0.65), (adversarial, 0.6)):
            assert np.abs(cell / 255 - value).max() < 0.01
        middle = width * factor // 2
        assert np.abs(difference[:, :middle] / 255 - (0.5 - 5 * 0.05)).max() < 0.01
        assert np.abs(difference[:, middle:] / 255 - 0.5).max() < 0.01  # padding
        red = (tokens[..., 0] > 200) & (tokens[..., 1] < 60)
        y, x = np.nonzero(red)
        assert red.sum() == (8 * factor) ** 2
        assert (y.min(), x.min()) == (place[0] * factor, place[1] * factor)


def test_every_column_has_a_title_and_no_two_are_alike():
    _, strip = sheet_of(64, 64)
    assert strip.shape[1] == len(COLUMNS) * (256 + GAP) + GAP
    titles = [strip[:, GAP + i * (256 + GAP):][:, :256] for i in range(len(COLUMNS))]
    inks = [(title < 128).any(-1) for title in titles]
    for ink in inks:
        assert 0.2 < np.ptp(np.nonzero(ink)[1]) / 256 < 0.95  # inside its column
    assert len({ink.tobytes() for ink in inks}) == len(COLUMNS)


def test_boxes_are_drawn_on_clean_and_adversarial_at_their_places():
    boxes = [torch.tensor([[10.0, 20, 40, 50]]), torch.zeros(0, 4)]
    (first, second), _ = sheet_of(64, 64, boxes=boxes)
    for column, cell in enumerate(first):
        yellow = (cell[..., 0] > 250) & (cell[..., 1] > 250) & (cell[..., 2] < 5)
        assert yellow.any() == (column in (0, 2))
        if yellow.any():
            y, x = np.nonzero(yellow)
            found = np.array([x.min(), y.min(), x.max(), y.max()])
            assert np.abs(found - 4 * np.array([10, 20, 40, 50])).max() <= 2
    assert np.ptp(second[0]) == 0


def test_at_most_so_many_rows():
    images, mask = torch.zeros(3, 3, 64, 64), torch.ones(3, 1, 64, 64, dtype=torch.bool)
    heights = [len(attack_sheet(images, mask, AttackResult(images, {}), max_images=n))
               for n in (1, 2, None)]
    assert np.diff(heights).tolist() == [256 + GAP] * 2


@pytest.mark.parametrize('side, tokens', [(33, 3), (9, 2), (10, 2), (100, 13)])
def test_images_that_no_whole_number_of_tokens_covers(side, tokens):
    images, mask = torch.zeros(1, 3, side, side), torch.ones(1, 1, side, side, dtype=torch.bool)
    changed = torch.ones(1, tokens, tokens, dtype=torch.bool)
    result = AttackResult(images, {}, reconstruction=images, changed=changed)
    last = attack_sheet(images, mask, result)[-GAP - 2, -GAP - 2]
    assert last[0] > 200 and last[1] < 60  # red to the last corner
