import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from projects.dat.runtime.errors import ArgumentError
from projects.dat.tokenizer import EMAQuantizer

ROOT = Path(__file__).resolve().parents[2]


def make(num_tokens=4, dim=2, **options):
    torch.manual_seed(0)
    return EMAQuantizer(nn.Parameter(torch.zeros(num_tokens, dim)), **options)


def grid(vectors):
    """(M, D) -> (1, D, 1, M)."""
    return vectors.T[None, :, None]


def test_gradient_passes_straight_through():
    quantizer = make().eval()
    quantizer.codebook.data = torch.eye(4)[:, :2] * 3
    z = grid(torch.tensor([[2.0, 0.5], [0.1, 4.0]])).requires_grad_()
    tokens, commitment, indices = quantizer(z)
    assert indices.flatten().tolist() == [0, 1]
    assert torch.equal(tokens.detach(), grid(torch.tensor([[3.0, 0.0], [0.0, 3.0]])))
    # Mean over elements of the squared distances 1, 0.25, 0.01 and 1.
    assert commitment.item() == pytest.approx((1 + 0.25 + 0.01 + 1) / 4)
    weights = torch.randn_like(tokens)
    (gradient,) = torch.autograd.grad((tokens * weights).sum(), z)
    assert torch.equal(gradient, weights)


def test_the_codebook_is_not_the_optimizers():
    assert not make().codebook.requires_grad


def test_the_first_batch_places_the_tokens_on_data():
    quantizer = make(num_tokens=16)
    vectors = 5 + torch.randn(200, 2)
    quantizer(grid(vectors))
    low, high = vectors.amin(0) - 0.01, vectors.amax(0) + 0.01
    assert ((quantizer.codebook > low) & (quantizer.codebook < high)).all()
    assert len(quantizer.codebook.unique(dim=0)) == 16


def test_tokens_converge_to_the_means_of_clusters():
    quantizer = make(num_tokens=16, decay=0.8)
    centers = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]])
    for _ in range(100):
        quantizer(grid(centers.repeat(50, 1) + 0.1 * torch.randn(200, 2)))
    nearest = torch.cdist(centers, quantizer.codebook).amin(1)
    assert (nearest < 0.2).all()


def test_dead_tokens_are_restarted():
    quantizer = make(num_tokens=8, decay=0.5)
    quantizer(grid(torch.randn(500, 2)))
    quantizer.codebook.data[3] = 1e6
    for _ in range(20):
        _, _, indices = quantizer(grid(torch.randn(500, 2)))
    assert quantizer.codebook.abs().max() < 10
    assert len(indices.unique()) == 8


def test_eval_changes_nothing():
    quantizer = make()
    quantizer(grid(torch.randn(100, 2)))
    quantizer.eval()
    before = {k: v.clone() for k, v in quantizer.state_dict().items()}
    quantizer(grid(torch.randn(100, 2)))
    assert all(torch.equal(v, before[k]) for k, v in quantizer.state_dict().items())


@pytest.mark.parametrize('options', [dict(decay=1), dict(decay=-0.1), dict(dead_below=1.5)])
def test_shares_that_are_none(options):
    with pytest.raises(ArgumentError, match='expected decay and dead_below from 0 to below 1'):
        make(**options)


RANKS = """
import torch, torch.distributed as dist
from torch import nn
from projects.dat.tokenizer import EMAQuantizer
dist.init_process_group('gloo')
rank = dist.get_rank()
torch.manual_seed(rank)
quantizer = EMAQuantizer(nn.Parameter(torch.zeros(16, 2)), decay=0.8)
for _ in range(5):
    quantizer(torch.randn(1, 2, 8, 8) + 3 * rank)
print(f'got {quantizer.codebook.flatten().tolist()} {quantizer.uses.sum().item():.4f}\\n', end='')
# Else a thread of gloo may outlive the interpreter, which aborts.
dist.destroy_process_group()
"""


def test_two_processes_share_their_tokens(tmp_path):
    script = tmp_path / 'ranks.py'
    script.write_text(RANKS)
    command = [sys.executable, '-W', 'ignore', '-m', 'torch.distributed.run', '--standalone']
    result = subprocess.run(
        [*command, '--nproc_per_node=2', str(script)],
        capture_output=True,
        text=True,
        env=os.environ | dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'),
    )
    assert result.returncode == 0, result.stderr[-3000:]
    first, second = [line for line in result.stdout.splitlines() if line.startswith('got')]
    assert first == second
    values = [float(v) for v in first[first.index('[') + 1 : first.index(']')].split(',')]
    # Tokens on the vectors of both ranks, which lie around 0 and around 3.
    assert min(values) < 0.5 and max(values) > 2.5
