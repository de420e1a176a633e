"""Adversarial examples in pixel space: FGSM and PGD."""

import torch
from torch import Tensor

from projects.dat.runtime.errors import ArgumentError

from .ascent import Ascent
from .result import AttackResult, Objective


class PixelAttack(Ascent):
    """Fast gradient sign method and projected gradient descent.

    Papers: FGSM, "Explaining and Harnessing Adversarial Examples"
    (https://arxiv.org/abs/1412.6572); PGD, "Towards Deep Learning Models Resistant to Adversarial
    Attacks" (https://arxiv.org/abs/1706.06083).

    FGSM is ``PixelAttack('Linf', eps, alpha=eps, steps=1)``. A batch whose loss or gradient is
    not finite comes back unchanged, with ``attack/skipped`` 1. Costs ``steps`` objective calls,
    each one forward and one backward pass to the image.

    Norm: L2, Linf.

    Args:
        norm: 'L2' (per image) or 'Linf' (per pixel value).
        eps: Radius of the perturbation, in units of the 0..1 range, such as 8 / 255 for Linf.
        alpha: Size of one step, in the same units and norm.
        steps: Number of steps.
        random_start: Probability, drawn once per batch, of starting from random noise: of L2 length
            eps, or uniform in -eps..eps. Defaults to 0.
        direction: 'gradient', or 'random': steps along Gaussian noise, the control for what the
            gradient contributes. Defaults to 'gradient'.
        loss_scale: Power of two on the loss in the backward pass, for float16. Defaults to 1024.

    Shape:
        - images: float32 (N, 3, H, W), RGB, 0..1.
        - objective: maps such images to a 0-d loss, which the attack raises.
        - mask: BoolTensor (N, 1, H, W), False where pixels must stay, or None.
        - result: :class:`AttackResult`, without reconstruction and changed tokens.

    Raises:
        ArgumentError: An argument is unknown or out of range, or the input is unfit; it is a
            ValueError.

    Example:
        >>> attack = PixelAttack('Linf', eps=8 / 255, alpha=2 / 255, steps=10)
        >>> adversarial = attack(images, lambda x: F.cross_entropy(model(x), labels)).images
    """

    def __init__(
        self,
        norm: str,
        eps: float,
        alpha: float,
        steps: int,
        random_start: float = 0.0,
        direction: str = 'gradient',
        loss_scale: float = 1024.0,
    ):
        if norm not in ('L2', 'Linf') or None in (eps, alpha):
            raise ArgumentError(
                f"PixelAttack needs a norm of 'L2' or 'Linf', an eps and an alpha, not {norm!r}, "
                f'{eps} and {alpha}'
            )
        super().__init__(norm, eps, alpha, steps, random_start, loss_scale, direction)

    @torch.no_grad()
    def __call__(
        self, images: Tensor, objective: Objective, mask: Tensor | None = None
    ) -> AttackResult:
        """Attack a batch; shapes as in the class docstring."""
        mask = self._check(images, mask)
        point, *found = self._climb(images, objective, mask, self.alpha, self.eps)
        return AttackResult(point, self._stats(images, point, self.alpha, *found))
