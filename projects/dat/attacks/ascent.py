"""Projected gradient ascent in pixels, which the discrete and the pixel attack share."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from projects.dat.runtime.arguments import check_numbers
from projects.dat.runtime.errors import ArgumentError

from .base import Attack
from .gradient import image_gradient
from .perturbations import PERTURBATIONS, Size, l2_norm
from .result import Objective

Calibrate = Callable[[Callable[[Size], Tensor], Tensor], Size]


class Ascent(Attack):
    """Projected gradient ascent from a batch of images.

    Args:
        norm: A key of ``PERTURBATIONS``.
        eps: Radius of the perturbation set, which no perturbation leaves; None for none.
        alpha: Step size; None where the subclass finds it.
        steps: See :class:`Attack`.
        random_start: Probability, per batch, of starting from a random perturbation.
        loss_scale: See :class:`Attack`.
        direction: See :class:`Attack`; the noise is Gaussian. Defaults to 'gradient'.

    Raises:
        ArgumentError: An argument is unknown or out of range; it is a ValueError.
    """

    def __init__(
        self,
        norm: str,
        eps: float | None,
        alpha: float | None,
        steps: int,
        random_start: float,
        loss_scale: float,
        direction: str = 'gradient',
    ):
        if norm not in PERTURBATIONS:
            raise ArgumentError(f'norm must be one of {", ".join(PERTURBATIONS)}, not {norm!r}')
        given = dict(eps=eps, alpha=alpha, random_start=random_start)
        check_numbers(**{name: value for name, value in given.items() if value is not None})
        if eps is not None and not eps >= 0:
            raise ArgumentError(f'eps must be 0 or more, or None for no bound, not {eps}')
        if alpha is not None and not alpha >= 0:
            raise ArgumentError(f'the step size alpha must be 0 or more, not {alpha}')
        if not 0 <= random_start <= 1:
            raise ArgumentError(f'random_start is a probability in 0..1, not {random_start}')
        if random_start and eps is None:
            raise ArgumentError('random_start needs eps, the size of the random perturbation')
        super().__init__(steps, loss_scale, direction)
        self.perturbation = PERTURBATIONS[norm]
        self.eps = eps
        self.alpha = alpha
        self.random_start = random_start

    def _climb(
        self,
        base: Tensor,
        objective: Objective,
        mask: Tensor,
        alpha: Size,
        eps: Size | None,
        view: Callable[[Tensor], Tensor] = lambda point: point,
        first_view: Tensor | None = None,
        calibrate: Calibrate | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Ascend from ``base``, at most ``eps`` away, within 0..1, where ``mask`` allows.

        Args:
            view: What the objective is shown of a point; its gradient counts as the point's own
                (straight-through). Defaults to the point itself.
            first_view: What the objective is shown first, when that is known already. Defaults to
                the starting point itself.
            calibrate: Given where a step size leads (a function of it) and whether the batch is
                skipped, it gives the step size in place of ``alpha``. Defaults to None.

        Returns:
            The final point, or ``base`` if any loss or gradient was not finite; the loss where the
            first gradient was taken, None without one; whether it is ``base``, a 0-d bool. That is
            decided on the device: the number of objective calls never varies.
        """
        point = self._start(base, mask, eps)
        seen = point if first_view is None else first_view
        before = None
        skipped = torch.zeros((), dtype=torch.bool, device=base.device)
        for step in range(self.steps):
            if self.direction == 'random':
                gradient = torch.randn(
                    base.shape, generator=self._generator(base.device), device=base.device
                )
            else:
                seen = seen if step == 0 else view(point)
                loss, gradient = image_gradient(seen, objective, self.loss_scale)
                before = loss if step == 0 else before
                skipped = skipped | ~loss.isfinite()
            gradient = torch.where(mask, gradient, 0)
            # NaN if any value is, and one pass, where isfinite() on all of them takes five.
            skipped = skipped | ~torch.linalg.vector_norm(gradient, torch.inf).isfinite()
            move = partial(self._move, base, point, gradient, mask & ~skipped, eps)
            if step == 0 and calibrate is not None:
                alpha = calibrate(move, skipped)
            point = move(alpha)
        return point, before, skipped

    def _move(
        self, base: Tensor, point: Tensor, gradient: Tensor, mask: Tensor, eps: Size | None,
        alpha: Size,
    ) -> Tensor:
        """One step of size ``alpha`` from ``point``, projected."""
        delta = point - base + self.perturbation.step(gradient, alpha)
        if eps is not None:
            delta = self.perturbation.project(delta, eps)
        return _displace(base, delta, mask)

    def _stats(
        self, base: Tensor, point: Tensor, alpha: Size, before: Tensor | None, skipped: Tensor
    ) -> dict[str, Tensor]:
        """What every attack reports of its move from ``base`` to ``point``."""
        stats = {} if before is None else {'attack/objective_before': before}
        return stats | {
            'attack/step_norm': l2_norm(point - base).mean(),
            'attack/alpha': torch.ones_like(skipped, dtype=torch.float32) * alpha,
            'attack/skipped': skipped.float(),
        }

    def _start(self, base: Tensor, mask: Tensor, eps: Size | None) -> Tensor:
        if not self.random_start or torch.rand((), generator=self.generator) >= self.random_start:
            return base
        noise = self.perturbation.random_perturb(base, mask, eps, self._generator(base.device))
        return _displace(base, noise, mask)


def _displace(base: Tensor, delta: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, (base + delta).clamp_(0, 1), base)
