"""Adversarial examples by exchanging the tokens that a first-order estimate says hurt most."""

import math
from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from projects.dat.runtime.arguments import check_numbers
from projects.dat.runtime.errors import ArgumentError

from .base import Attack
from .perturbations import l2_norm
from .result import AttackResult, Objective

_CHUNK = 1024  # rows of the table of neighbors that are computed at once


class TransparentTokenizer(Protocol):
    """What the attack needs of a tokenizer; images are float32 (N, 3, H, W), RGB, 0..1."""

    downscale: int
    codebook: Tensor
    """(K, D)."""

    def tokenize(self, images: Tensor) -> Tensor:
        """Images to LongTensor (N, ceil(H / downscale), ceil(W / downscale))."""

    def decode(self, entries: Tensor, size: tuple[int, int]) -> Tensor:
        """Code vectors (N, D, h, w) to images, cropped to ``size`` = (H, W); differentiable."""


class TokenFlipAttack(Attack):
    """Exchanges the tokens whose exchange raises the loss most, to first order.

    Let g be the gradient of the loss with respect to an image's code vectors, exact, through the
    decoder. Exchanging the code e of a position for e' changes the loss by about g . (e' - e). Of
    the ``neighbors`` codes nearest to e the attack takes the one with the largest such gain, and of
    all positions those with the largest gains, until the share ``rate`` of an image's tokens is
    exchanged: there is no step size and nothing to adapt, whatever the resolution. It is HotFlip
    (Ebrahimi et al., 2018, https://arxiv.org/abs/1712.06751, section 3) for images.

    In place of it :class:`DiscreteAttack` moves pixels and encodes again, which exchanges the
    tokens that happen to lie near a border of their cell.

    Cost: ``steps`` objective calls. Tokenizer passes: one encoding, ``steps`` + 1 decodings,
    ``steps`` of them with their backward pass; the first call makes a table of neighbors. Nothing
    waits for the device. The decoder runs outside autocast, the objective in the caller's. A batch
    whose loss or gradient is not finite becomes its reconstruction Q(x), or x with ``residual``,
    with ``attack/skipped`` 1.

    Args:
        tokenizer: See :class:`TransparentTokenizer`.
        rate: Share of an image's tokens to exchange, 0..1; rounded to whole tokens. Defaults to
            0.038, DAT's (arXiv:2209.07735, table 8).
        neighbors: How many codes nearest to a token's own may take its place, in the Euclidean
            distance of the codebook. More raise the loss more, and look less natural. Defaults to
            8.
        steps: The tokens are exchanged in so many portions, each with the gradient at what is
            there; no position twice. Defaults to 1.
        temperature: Draws positions and codes at random in place of the largest gains: Gumbel noise
            of this scale, in standard deviations of an image's gains, is added to them. Defaults to
            0.
        residual: What the tokenizer loses is added again, x + D(z') - D(z): an image of which no
            token is exchanged is itself, and the first gradient is taken at x. Costs one decoding
            more. Defaults to False.
        direction: 'gradient', or 'random': g is Gaussian noise and the objective is never asked,
            the control for what the gradient contributes. Defaults to 'gradient'.
        loss_scale: Power of two on the loss in the backward pass, for float16. Defaults to 1024.

    Shape:
        - images: float32 (N, 3, H, W), RGB, 0..1.
        - objective: maps such images to a 0-d loss, which the attack raises.
        - mask: BoolTensor (N, 1, H, W), False where pixels must stay (padding), or None. A token
          counts, and may be exchanged, where any of its pixels is allowed.
        - result: :class:`AttackResult`; ``attack/gain`` is the rise of the loss that the first
          order promises.

    Raises:
        ArgumentError: An argument is unknown or out of range, or the input is unfit; it is a
            ValueError.

    Example:
        >>> attack = TokenFlipAttack(tokenizer, rate=0.038, neighbors=8)
        >>> result = attack(images, lambda x: F.cross_entropy(model(x), labels))
    """

    def __init__(
        self,
        tokenizer: TransparentTokenizer,
        rate: float = 0.038,
        neighbors: int = 8,
        steps: int = 1,
        temperature: float = 0.0,
        residual: bool = False,
        direction: str = 'gradient',
        loss_scale: float = 1024.0,
    ):
        super().__init__(steps, loss_scale, direction)
        check_numbers(rate=rate, temperature=temperature)
        if not 0 <= rate <= 1:
            raise ArgumentError(f'rate, the share of tokens to exchange, must be 0..1, not {rate}')
        if not isinstance(neighbors, int) or neighbors < 1:
            raise ArgumentError(f'neighbors must be a whole number from 1 on, not {neighbors!r}')
        if temperature < 0:
            raise ArgumentError(f'temperature must be 0 or more, not {temperature}')
        self.tokenizer = tokenizer
        self.rate = rate
        self.neighbors = neighbors
        self.temperature = temperature
        self.residual = residual
        self._table = None

    @torch.no_grad()
    def __call__(
        self, images: Tensor, objective: Objective, mask: Tensor | None = None
    ) -> AttackResult:
        """Attack a batch; shapes as in the class docstring."""
        mask = self._check(images, mask)
        allowed = F.max_pool2d(mask.float(), self.tokenizer.downscale, ceil_mode=True)[:, 0].bool()
        count = (self.rate * allowed.sum(dim=(1, 2))).round()

        def decode(entries: Tensor) -> Tensor:
            with torch.autocast(images.device.type, enabled=False):
                decoded = self.tokenizer.decode(entries, tuple(images.shape[2:]))
            decoded = decoded if lost is None else (decoded + lost).clamp(0, 1)
            return torch.where(mask, decoded, images)

        lost = None
        with torch.autocast(images.device.type, enabled=False):
            original = tokens = self.tokenizer.tokenize(images)
        if self.residual:
            lost = images - decode(self._entries(tokens))
        codebook = self.tokenizer.codebook
        codes = self._neighbors_of(codebook)[tokens]
        moves = codebook[codes] - codebook[tokens].unsqueeze(-2)
        free = allowed
        reconstruction = before = None
        gain = torch.zeros((), device=images.device)
        skipped = torch.zeros((), dtype=torch.bool, device=images.device)
        for step in range(self.steps):
            if self.direction == 'random':
                slope = self._random(torch.randn, (*tokens.shape, codebook.shape[1]), tokens.device)
            else:
                decoded, loss, slope = self._slope(tokens, decode, objective)
                skipped = skipped | ~loss.isfinite() | ~slope.isfinite().all()
                if step == 0:
                    reconstruction, before = decoded, loss
            # Positions that are still free have their original tokens. Not a matrix product, which
            # the caller's autocast would compute in few digits.
            gains = (moves * slope.unsqueeze(-2)).sum(dim=-1)
            best, which = self._perturbed(gains).max(dim=-1, keepdim=True)
            until = [(count * (step + part) / self.steps).round() for part in (0, 1)]
            chosen = _largest(best.squeeze(-1), free, until[1] - until[0])
            tokens = torch.where(chosen, codes.gather(-1, which).squeeze(-1), tokens)
            gain = gain + torch.where(chosen, gains.gather(-1, which).squeeze(-1), 0).sum()
            free = free & ~chosen
        tokens = torch.where(skipped, original, tokens)
        changed = tokens != original
        adversarial = decode(self._entries(tokens))
        stats = {
            'attack/token_change': changed.sum() / allowed.sum().clamp(min=1),
            'attack/skipped': skipped.float(),
        }
        if before is not None:
            stats |= {
                'attack/objective_before': before,
                'attack/gain': gain,
                'attack/step_norm': l2_norm(adversarial - reconstruction).mean(),
            }
        return AttackResult(adversarial, stats, reconstruction, changed)

    def _slope(
        self, tokens: Tensor, decode: Callable[[Tensor], Tensor], objective: Objective
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the tokens look like, its loss, and the gradient of that by code, (N, h, w, D)."""
        leaf = self._entries(tokens).requires_grad_()
        with torch.enable_grad():
            decoded = decode(leaf)
            loss = objective(decoded)
            (slope,) = torch.autograd.grad(loss.float() * self.loss_scale, leaf)
        return decoded.detach(), loss.detach().float(), slope.movedim(1, -1) / self.loss_scale

    def _entries(self, tokens: Tensor) -> Tensor:
        """Code vectors (N, D, h, w)."""
        return F.embedding(tokens, self.tokenizer.codebook).movedim(-1, 1)

    def _neighbors_of(self, codebook: Tensor) -> Tensor:
        """(K, k): of each code the k nearest others."""
        if self._table is None or self._table.device != codebook.device:
            k = min(self.neighbors, len(codebook) - 1)
            rows = []
            for start in range(0, len(codebook), _CHUNK):
                distances = torch.cdist(codebook[start : start + _CHUNK], codebook)
                distances.diagonal(offset=start).fill_(math.inf)
                rows.append(distances.topk(k, largest=False).indices)
            self._table = torch.cat(rows)
        return self._table

    def _perturbed(self, gains: Tensor) -> Tensor:
        """With Gumbel noise, whose largest values are a sample without replacement."""
        if not self.temperature:
            return gains
        scale = self.temperature * gains.std(dim=(1, 2, 3), keepdim=True)
        uniform = self._random(torch.rand, gains.shape, gains.device)
        return gains - scale * (-uniform.clamp(min=1e-30).log()).log()

    def _random(self, draw, shape: tuple[int, ...], device: torch.device) -> Tensor:
        return draw(shape, generator=self._generator(device), device=device)


def _largest(scores: Tensor, free: Tensor, count: Tensor) -> Tensor:
    """True at each image's ``count`` (N,) largest free scores (N, h, w)."""
    flat = torch.where(free, scores, -math.inf).flatten(1)
    order = flat.argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(flat.shape[1], device=flat.device).expand_as(order)
    )
    return (rank < count[:, None]).view_as(free) & free
