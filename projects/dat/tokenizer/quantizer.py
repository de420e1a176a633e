"""Vector quantization in training: straight-through, EMA codebook, dead-code restarts."""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from projects.dat.runtime.errors import ArgumentError

from .codebook import nearest_codes


class EMAQuantizer(nn.Module):
    """Quantizes encoder outputs and moves the codebook towards them.

    Each entry is the running mean of the vectors assigned to it (van den Oord et al., 2017,
    arXiv:1711.00937, appendix A.1); an entry that few vectors chose for long is put on a vector of
    the current batch. Under DDP all ranks share one codebook: assignments are summed over ranks,
    and rank 0's vectors serve for restarts.

    Args:
        codebook: (K, D) weight that is updated in place; it needs no gradient.
        decay: of the running means, 0..1. Defaults to 0.99.
        dead_below: share of the mean use (1 / K) below which an entry is restarted. Defaults to
            0.05 (ours).
        trained: whether the codebook is one to go on from; otherwise the first batch places the
            entries on its vectors. Defaults to False.
    """

    def __init__(
        self,
        codebook: nn.Parameter,
        decay: float = 0.99,
        dead_below: float = 0.05,
        trained: bool = False,
    ):
        super().__init__()
        if not 0 <= decay < 1 or not 0 <= dead_below < 1:
            raise ArgumentError(
                f'expected decay and dead_below from 0 to below 1, got {decay} and {dead_below}'
            )
        # Not registered: it is the network's, and averaging weights (EMA) would meet it twice.
        self._codebook = (codebook.requires_grad_(False),)
        self.decay = decay
        self.dead_below = dead_below
        self.trained = trained
        self.register_buffer('uses', torch.zeros(len(codebook)))
        self.register_buffer('sums', torch.zeros_like(codebook))
        self._started = False

    @property
    def codebook(self) -> nn.Parameter:
        """(K, D)."""
        return self._codebook[0]

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantize (N, D, h, w).

        Returns:
            tuple: entries (N, D, h, w) whose gradient passes straight to ``z``, the commitment
                loss ``mean |z - sg(entry)|^2`` (0-d), and the indices (N, h, w) before the codebook
                moved.
        """
        vectors = z.movedim(1, -1).reshape(-1, z.shape[1]).float()
        if self.training and not self._started:
            self._start(vectors.detach())
        indices = nearest_codes(vectors, self.codebook)
        entries = self.codebook[indices]
        if self.training:
            self._update(vectors.detach(), indices)
        commitment = (vectors - entries).square().mean()
        entries = entries.view(z.shape[0], *z.shape[2:], -1).movedim(-1, 1)
        return z + (entries - z).detach(), commitment, indices.view(z.shape[0], *z.shape[2:])

    @torch.no_grad()
    def _start(self, vectors: Tensor) -> None:
        """Fill the running sums, unless a checkpoint has."""
        self._started = True
        if self.uses.any():
            return
        ranks = dist.get_world_size() if dist.is_initialized() else 1
        self.uses.fill_(ranks * len(vectors) / len(self.uses))
        self.sums.copy_(self.codebook * self.uses[:, None])
        if not self.trained:
            self._restart(torch.ones_like(self.uses, dtype=torch.bool), vectors)

    @torch.no_grad()
    def _update(self, vectors: Tensor, indices: Tensor) -> None:
        uses = torch.zeros_like(self.uses).index_add_(0, indices, torch.ones_like(vectors[:, 0]))
        sums = torch.zeros_like(self.sums).index_add_(0, indices, vectors)
        if dist.is_initialized():
            dist.all_reduce(uses)
            dist.all_reduce(sums)
        self.uses.lerp_(uses, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        self.codebook.copy_(self.sums / self.uses[:, None].clamp(min=1e-12))
        self._restart(self.uses < self.dead_below * self.uses.mean(), vectors)

    @torch.no_grad()
    def _restart(self, dead: Tensor, vectors: Tensor) -> None:
        """Put dead entries on random vectors, at the mean use: they get time to find followers."""
        # For all entries, dead or not: counting the dead would wait for the device.
        picked = vectors[torch.randint(len(vectors), (len(dead),), device=vectors.device)]
        # Identical entries would never part: a little noise tells them apart.
        picked = picked + 1e-3 * vectors.std(dim=0, correction=0) * torch.randn_like(picked)
        if dist.is_initialized():
            dist.broadcast(picked, src=0)
        mean_use = self.uses.mean()
        dead = dead[:, None]
        self.codebook.copy_(torch.where(dead, picked, self.codebook))
        self.uses.copy_(torch.where(dead[:, 0], mean_use, self.uses))
        self.sums.copy_(torch.where(dead, picked * mean_use, self.sums))
