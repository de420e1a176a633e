"""What the discrete and the pixel attack share."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .gradient import image_gradient
from .perturbations import PERTURBATIONS, Size, l2_norm
from .result import Objective


class Attack:
    """Projected gradient ascent from a batch of images, with its own random numbers.

    Subclasses define ``__call__(images, objective, mask=None) -> AttackResult``.

    Args:
        norm: A key of ``PERTURBATIONS``.
        alpha: Step size.
        eps: Radius of the perturbation set, or None for none.
        steps: Number of steps, each one objective call.
        random_start: Probability, per batch, of starting from a random perturbation.
        loss_scale: Power of two on the loss in the backward pass.

    Attributes:
        generator: CPU generator of every random choice; the global generators stay untouched.

    Raises:
        ValueError: An argument is unknown or out of range.
    """

    def __init__(
        self,
        norm: str,
        alpha: float,
        eps: float | None,
        steps: int,
        random_start: float,
        loss_scale: float,
    ):
        if norm not in PERTURBATIONS:
            raise ValueError(f'norm must be one of {", ".join(PERTURBATIONS)}, not {norm!r}.')
        if not alpha >= 0:
            raise ValueError(f'The step size must be 0 or more, not {alpha}.')
        if eps is not None and not eps >= 0:
            raise ValueError(f'eps must be 0 or more, or None for no projection, not {eps}.')
        if not isinstance(steps, int) or steps < 1:
            raise ValueError(f'steps must be a whole number of at least 1, not {steps!r}.')
        if not 0 <= random_start <= 1:
            raise ValueError(f'random_start is a probability in 0..1, not {random_start}.')
        if random_start and eps is None:
            raise ValueError('random_start needs eps, the size of the random perturbation.')
        if not loss_scale > 0 or math.frexp(loss_scale)[0] != 0.5:
            raise ValueError(f'loss_scale must be a power of two, such as 1024, not {loss_scale}.')
        self.perturbation = PERTURBATIONS[norm]
        self.alpha = alpha
        self.eps = eps
        self.steps = steps
        self.random_start = random_start
        self.loss_scale = loss_scale
        self.generator = torch.Generator()

    def seed(self, seed: int) -> None:
        """Restart the attack's random numbers."""
        self.generator.manual_seed(seed)

    def state_dict(self) -> dict:
        """Everything that changes from batch to batch, on the CPU: tensors in a dict."""
        return {'generator': self.generator.get_state()}

    def load_state_dict(self, state: dict) -> None:
        """Restore what :meth:`state_dict` gave, from whatever device it was loaded to."""
        self.generator.set_state(state['generator'].cpu())

    def _check(self, images: Tensor, mask: Tensor | None) -> Tensor:
        """The mask (N, 1, H, W), all True for None; ValueError for ill-shaped input."""
        if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.float32:
            raise ValueError(
                'The attack expects float32 RGB images (N, 3, H, W) in 0..1, but got '
                f'{images.dtype} {tuple(images.shape)}: convert them first.'
            )
        shape = (len(images), 1, *images.shape[2:])
        if mask is None:
            return images.new_ones(shape, dtype=torch.bool)
        if mask.dtype != torch.bool or mask.shape != shape:
            raise ValueError(
                f'The mask must be a bool tensor {shape}, True where pixels may change, but is '
                f'{mask.dtype} {tuple(mask.shape)}.'
            )
        return mask

    def _climb(
        self,
        base: Tensor,
        objective: Objective,
        mask: Tensor,
        alpha: Size,
        eps: Size | None,
        view: Callable[[Tensor], Tensor] = lambda point: point,
        first_view: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Ascend from ``base``, at most ``eps`` away, within 0..1, where ``mask`` allows.

        Args:
            view: What the objective is shown of a point; its gradient counts as the point's own
                (straight-through). Defaults to the point itself.
            first_view: What the objective is shown first, when that is known already. Defaults to
                the starting point itself.

        Returns:
            The final point, or ``base`` if any loss or gradient was not finite; the loss where the
            first gradient was taken; whether it is ``base``, a 0-d bool. That is decided on the
            device: the number of objective calls never varies.
        """
        point = self._start(base, mask, eps)
        seen = point if first_view is None else first_view
        skipped = torch.zeros((), dtype=torch.bool, device=base.device)
        for step in range(self.steps):
            if step > 0:
                seen = view(point)
            loss, gradient = image_gradient(seen, objective, self.loss_scale)
            if step == 0:
                before = loss
            gradient = torch.where(mask, gradient, 0)
            # NaN if any value is, and one pass, where isfinite() on all of them takes five.
            largest = torch.linalg.vector_norm(gradient, torch.inf)
            skipped = skipped | ~(loss.isfinite() & largest.isfinite())
            delta = point - base + self.perturbation.step(gradient, alpha)
            if eps is not None:
                delta = self.perturbation.project(delta, eps)
            point = _move(base, delta, mask & ~skipped)
        return point, before, skipped

    def _stats(
        self, base: Tensor, point: Tensor, alpha: Size, before: Tensor, skipped: Tensor
    ) -> dict[str, Tensor]:
        """What every attack reports of its move from ``base`` to ``point``."""
        return {
            'attack/objective_before': before,
            'attack/step_norm': l2_norm(point - base).mean(),
            'attack/alpha': torch.ones_like(before) * alpha,
            'attack/skipped': skipped.float(),
        }

    def _start(self, base: Tensor, mask: Tensor, eps: Size | None) -> Tensor:
        if not self.random_start or torch.rand((), generator=self.generator) >= self.random_start:
            return base
        # Noise is drawn on the images' device: a CPU draw of a large batch would hold up the step.
        seed = torch.randint(2**62, (), generator=self.generator).item()
        generator = torch.Generator(base.device).manual_seed(seed)
        return _move(base, self.perturbation.random_perturb(base, mask, eps, generator), mask)


def _move(base: Tensor, delta: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, (base + delta).clamp_(0, 1), base)
