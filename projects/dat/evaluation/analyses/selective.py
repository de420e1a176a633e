"""DAT that lets only the most harmful of the tokens turn that its step would turn."""

import torch
import torch.nn.functional as F
from torch import Tensor

from projects.dat.attacks import AttackResult
from projects.dat.attacks.base import Attack
from projects.dat.attacks.gradient import image_gradient
from projects.dat.attacks.perturbations import PERTURBATIONS, l2_norm
from projects.dat.attacks.result import Objective
from projects.dat.tokenizer import Tokenizer


class SelectiveAttack(Attack):
    """A large step of DAT, of which the most harmful tokens are kept.

    The step makes tokens z' of the image's tokens z. What a token's change is worth, to first
    order, is the product of the gradient at Q(x) and of D(z') - D(z), summed over its square of
    pixels. The changes that are worth most are kept, until the share ``rate`` is reached. Costs one
    objective call and four tokenizer passes. Ours, to see what DAT's blind choice of tokens gives
    away.

    Args:
        tokenizer: See :class:`Tokenizer`.
        rate: Share of an image's tokens to change, 0..1.
        alpha: L2 length of the step of an image of 224 x 224 pixels, in units of the 0..1 range;
            that of others grows with the root of their number of pixels. Defaults to 3.2, which
            turns a quarter of the bundled tokenizer's tokens.
    """

    def __init__(self, tokenizer: Tokenizer, rate: float, alpha: float = 3.2) -> None:
        super().__init__(steps=1, loss_scale=1024.0)
        self.tokenizer = tokenizer
        self.rate = rate
        self.alpha = alpha

    @torch.no_grad()
    def __call__(
        self, images: Tensor, objective: Objective, mask: Tensor | None = None
    ) -> AttackResult:
        """Attack a batch; see :class:`Attack`."""
        mask = self._check(images, mask)
        side = self.tokenizer.downscale
        allowed = F.max_pool2d(mask.float(), side, ceil_mode=True)[:, 0].bool()
        size = images.shape[2:]
        alpha = self.alpha * (mask.sum((1, 2, 3)).view(-1, 1, 1, 1) / 224**2).sqrt()

        def decode(tokens: Tensor) -> Tensor:
            return torch.where(mask, self.tokenizer.detokenize(tokens, size), images)

        tokens = self.tokenizer.tokenize(images)
        reconstruction = decode(tokens)
        loss, gradient = image_gradient(reconstruction, objective, self.loss_scale)
        gradient = torch.where(mask, gradient, 0)
        skipped = ~(loss.isfinite() & gradient.isfinite().all())
        step = PERTURBATIONS['L2'].step(gradient, alpha)
        turned = self.tokenizer.tokenize((images + step).clamp(0, 1))
        worth = (gradient * (decode(turned) - reconstruction)).sum(1, keepdim=True)
        worth = F.avg_pool2d(worth, side, ceil_mode=True)[:, 0]
        free = (turned != tokens) & allowed & (worth > 0) & ~skipped
        ranks = torch.where(free, worth, -torch.inf).flatten(1).argsort(1, descending=True)
        ranks = ranks.argsort(1).view_as(free)
        changed = free & (ranks < (self.rate * allowed.sum((1, 2), keepdim=True)).round())
        adversarial = decode(torch.where(changed, turned, tokens))
        stats = {
            'attack/objective_before': loss,
            'attack/step_norm': l2_norm(adversarial - reconstruction).mean(),
            'attack/skipped': skipped.float(),
            'attack/token_change': changed.sum() / allowed.sum().clamp(min=1),
        }
        return AttackResult(adversarial, stats, reconstruction, changed)
