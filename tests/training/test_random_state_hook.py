import random

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from projects.dat.training.random_state_hook import (
    get_random_state,
    seed_worker,
    set_random_state,
)


def draw():
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_state_round_trip_through_a_checkpoint(tmp_path):
    draw()
    torch.save(get_random_state(), tmp_path / 'state.pth')
    expected = draw()
    set_random_state(torch.load(tmp_path / 'state.pth', weights_only=True))
    assert draw() == expected


class Draws(Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return torch.tensor([*draw()])


def epochs(monkeypatch, rank):
    monkeypatch.setenv('RANK', str(rank))
    torch.manual_seed(0)
    loader = DataLoader(Draws(), num_workers=1, worker_init_fn=seed_worker)
    return [torch.cat(list(loader)) for _ in range(2)]


def test_workers_draw_other_numbers_each_epoch_and_rank(monkeypatch):
    first, second = epochs(monkeypatch, rank=0)
    assert not (first == second).any()
    other, _ = epochs(monkeypatch, rank=1)
    assert not (first == other).any()
    again, _ = epochs(monkeypatch, rank=0)
    assert torch.equal(first, again)
