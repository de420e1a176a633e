"""What the discrete and the pixel attack share."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from projects.dat.runtime.arguments import check_numbers
from projects.dat.runtime.errors import ArgumentError

from .gradient import image_gradient
from .perturbations import PERTURBATIONS, Size, l2_norm
from .result import Objective

DIRECTIONS = ('gradient', 'random')
Calibrate = Callable[[Callable[[Size], Tensor], Tensor], Size]


class Attack:
    """Projected gradient ascent from a batch of images, with its own random numbers.

    Subclasses define ``__call__(images, objective, mask=None) -> AttackResult``.

    Args:
        norm: A key of ``PERTURBATIONS``.
        eps: Radius of the perturbation set, which no perturbation leaves; None for none.
        alpha: Step size; None where the subclass finds it.
        steps: Number of steps, each one objective call.
        random_start: Probability, per batch, of starting from a random perturbation.
        loss_scale: Power of two on the loss in the backward pass.
        direction: 'gradient', or 'random': steps along Gaussian noise in place of the gradient,
            without any objective call; all else is the same. Defaults to 'gradient'.

    Attributes:
        generator: CPU generator of every random choice; the global generators stay untouched.

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
        given = dict(eps=eps, alpha=alpha, random_start=random_start, loss_scale=loss_scale)
        check_numbers(**{name: value for name, value in given.items() if value is not None})
        if eps is not None and not eps >= 0:
            raise ArgumentError(f'eps must be 0 or more, or None for no bound, not {eps}')
        if alpha is not None and not alpha >= 0:
            raise ArgumentError(f'the step size alpha must be 0 or more, not {alpha}')
        if not isinstance(steps, int) or steps < 1:
            raise ArgumentError(f'steps must be a whole number of at least 1, not {steps!r}')
        if not 0 <= random_start <= 1:
            raise ArgumentError(f'random_start is a probability in 0..1, not {random_start}')
        if random_start and eps is None:
            raise ArgumentError('random_start needs eps, the size of the random perturbation')
        if not loss_scale > 0 or math.frexp(loss_scale)[0] != 0.5:
            raise ArgumentError(f'loss_scale must be a power of two like 1024, not {loss_scale}')
        if direction not in DIRECTIONS:
            raise ArgumentError(
                f'direction must be one of {", ".join(DIRECTIONS)}, not {direction!r}'
            )
        self.perturbation = PERTURBATIONS[norm]
        self.eps = eps
        self.alpha = alpha
        self.steps = steps
        self.random_start = random_start
        self.loss_scale = loss_scale
        self.direction = direction
        self.generator = torch.Generator()
        self._range_checked = False

    def seed(self, seed: int) -> None:
        """Restart the attack's random numbers."""
        self.generator.manual_seed(seed)

    def state_dict(self) -> dict:
        """Everything that lasts from batch to batch, on the CPU: tensors in a dict."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Restore what :meth:`state_dict` gave, from whatever device it was loaded to."""

    def _check(self, images: Tensor, mask: Tensor | None) -> Tensor:
        """The mask (N, 1, H, W), all True for None; ArgumentError for unfit input."""
        if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.float32:
            raise ArgumentError(
                'the attack expects float32 RGB images (N, 3, H, W) in 0..1, but got '
                f'{images.dtype} {tuple(images.shape)}: convert them first'
            )
        shape = (len(images), 1, *images.shape[2:])
        if mask is None:
            mask = images.new_ones(shape, dtype=torch.bool)
        if mask.dtype != torch.bool or mask.shape != shape:
            raise ArgumentError(
                f'the mask must be a bool tensor {shape}, True where pixels may change, but is '
                f'{mask.dtype} {tuple(mask.shape)}'
            )
        if images.device.type == 'cpu' or not (self._range_checked or images.is_meta):
            # On other devices the first batch alone: looking at values waits for them.
            low, high = torch.stack(torch.where(mask, images, 0.5).aminmax()).tolist()
            if low < 0 or high > 1:
                raise ArgumentError(
                    f'the attack expects images in 0..1, but got values from {low:.4g} to '
                    f'{high:.4g}: divide images in 0..255 by 255, and undo a normalization'
                )
            self._range_checked = True
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

    def _generator(self, device: torch.device) -> torch.Generator:
        """One on the images' device: a CPU draw of a large batch would hold up the step."""
        seed = torch.randint(2**62, (), generator=self.generator).item()
        return torch.Generator(device).manual_seed(seed)


def _displace(base: Tensor, delta: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, (base + delta).clamp_(0, 1), base)
