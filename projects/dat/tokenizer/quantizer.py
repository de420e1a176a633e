"""Vector quantization in training: straight-through, EMA codebook, dead-code restarts."""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .codebook import nearest_codes


class EMAQuantizer(nn.Module):
    """Quantizes encoder outputs and moves the codebook towards them.

    Each word is the running mean of the vectors assigned to it (van den Oord et al., 2017,
    arXiv:1711.00937, appendix A.1); a word that hardly any vector chose for long is put on a vector
    of the current batch. Under DDP all ranks share one codebook: assignments are summed over ranks,
    and rank 0's vectors serve for restarts.

    Args:
        codebook: (K, D) weight that is updated in place; it needs no gradient.
        decay: of the running means, 0..1. Defaults to 0.99.
        dead_below: share of the mean use (1 / K) below which a word is restarted. Defaults to 0.05
            (ours).
    """

    def __init__(self, codebook: nn.Parameter, decay: float = 0.99, dead_below: float = 0.05):
        super().__init__()
        self.codebook = codebook.requires_grad_(False)
        self.decay = decay
        self.dead_below = dead_below
        # Sums start at zero: every word is dead until the first vectors arrive, and so is placed on
        # data.
        self.register_buffer('uses', torch.zeros(len(codebook)))
        self.register_buffer('sums', torch.zeros_like(codebook))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantize (N, D, h, w).

        Returns:
            tuple: word vectors (N, D, h, w) whose gradient passes straight to ``z``, the commitment
                loss ``mean |z - sg(word)|^2`` (0-d), and the indices (N, h, w) before the codebook
                moved.
        """
        vectors = z.movedim(1, -1).reshape(-1, z.shape[1]).float()
        if self.training and not self.uses.any():
            self._restart(torch.ones_like(self.uses, dtype=torch.bool), vectors.detach())
        indices = nearest_codes(vectors, self.codebook)
        words = self.codebook[indices]
        if self.training:
            self._update(vectors.detach(), indices)
        commitment = (vectors - words).square().mean()
        words = words.view(z.shape[0], *z.shape[2:], -1).movedim(-1, 1)
        return z + (words - z).detach(), commitment, indices.view(z.shape[0], *z.shape[2:])

    @torch.no_grad()
    def _update(self, vectors: Tensor, indices: Tensor) -> None:
        uses = torch.zeros_like(self.uses).index_add_(0, indices, torch.ones_like(vectors[:, 0]))
        sums = torch.zeros_like(self.sums).index_add_(0, indices, vectors)
        if dist.is_initialized():
            dist.all_reduce(uses)
            dist.all_reduce(sums)
        self.uses.lerp_(uses, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        dead = self.uses < self.dead_below * self.uses.mean()
        alive = ~dead
        self.codebook[alive] = self.sums[alive] / self.uses[alive, None]
        self._restart(dead, vectors)

    @torch.no_grad()
    def _restart(self, dead: Tensor, vectors: Tensor) -> None:
        """Put dead words on random vectors, at the mean use: they get time to find followers."""
        picked = vectors[torch.randint(len(vectors), (int(dead.sum()),), device=vectors.device)]
        # Identical words would never part: a little noise tells them apart.
        picked = picked + 1e-3 * picked.std(dim=0, correction=0) * torch.randn_like(picked)
        if dist.is_initialized():
            dist.broadcast(picked, src=0)
        mean_use = self.uses.mean().clamp(min=1e-3)
        self.codebook[dead] = picked
        self.uses[dead] = mean_use
        self.sums[dead] = picked * mean_use
