"""What an attack hands back."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Objective = Callable[[Tensor], Tensor]
"""``objective(images) -> loss``: images (N, 3, H, W) in 0..1; the 0-d loss is to be raised."""


@dataclass
class AttackResult:
    """Adversarial images and what the attack measured on the way.

    Attributes:
        images: Adversarial images, float32 (N, 3, H, W), RGB, 0..1, without a graph. Equal to the
            input wherever the mask is False.
        stats: 0-d float32 tensors on the images' device, ready to be logged; reading them is left
            to the caller, because it waits for the device.

            - ``attack/objective_before``: the loss where the first gradient was taken; a random
              direction has none.
            - ``attack/step_norm``: mean over the batch of the L2 length of the displacement, after
              the clamp to 0..1, whatever the attack's own norm.
            - ``attack/alpha``: the step size used.
            - ``attack/skipped``: 1 where a loss or gradient was not finite, else 0.
            - ``attack/token_change``: share of the tokens changed (discrete attack only), 0..1.
        reconstruction: The tokenizer's Q(x), shaped like ``images``; None where there is none.
        changed: BoolTensor (N, h, w), True where a token changed, or None for pixel attacks.
    """

    images: Tensor
    stats: dict[str, Tensor]
    reconstruction: Tensor | None = None
    changed: Tensor | None = None
