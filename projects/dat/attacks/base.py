"""What all attacks share."""

import math

import torch
from torch import Tensor

from projects.dat.runtime.arguments import check_numbers
from projects.dat.runtime.errors import ArgumentError

DIRECTIONS = ('gradient', 'random')


class Attack:
    """An attack on a batch of images, with its own random numbers.

    Subclasses define ``__call__(images, objective, mask=None) -> AttackResult``.

    Args:
        steps: Number of steps, each one objective call.
        loss_scale: Power of two on the loss in the backward pass.
        direction: 'gradient', or 'random': steps along noise in place of the gradient, without any
            objective call; all else is the same. Defaults to 'gradient'.

    Attributes:
        generator: CPU generator of every random choice; the global generators stay untouched.

    Raises:
        ArgumentError: An argument is unknown or out of range; it is a ValueError.
    """

    def __init__(self, steps: int, loss_scale: float, direction: str = 'gradient'):
        check_numbers(loss_scale=loss_scale)
        if not isinstance(steps, int) or steps < 1:
            raise ArgumentError(f'steps must be a whole number of at least 1, not {steps!r}')
        if not loss_scale > 0 or math.frexp(loss_scale)[0] != 0.5:
            raise ArgumentError(f'loss_scale must be a power of two like 1024, not {loss_scale}')
        if direction not in DIRECTIONS:
            raise ArgumentError(
                f'direction must be one of {", ".join(DIRECTIONS)}, not {direction!r}'
            )
        self.steps = steps
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

    def _generator(self, device: torch.device) -> torch.Generator:
        """One on the images' device: a CPU draw of a large batch would hold up the step."""
        seed = torch.randint(2**62, (), generator=self.generator).item()
        return torch.Generator(device).manual_seed(seed)
