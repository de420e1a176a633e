"""What an attack hands back."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
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

            - ``attack/objective_before``: the loss where the first gradient was taken.
            - ``attack/step_norm``: mean over the batch of the L2 length of the displacement, after
              the clamp to 0..1, whatever the attack's own norm.
            - ``attack/alpha``: the step size used.
            - ``attack/skipped``: 1 where a loss or gradient was not finite, else 0.
            - ``attack/token_change``: share of the tokens changed (discrete attack only), 0..1.
        reconstruction: The tokenizer's Q(x), shaped like ``images``, or None for pixel attacks.
        changed: BoolTensor (N, h, w), True where a token changed, or None for pixel attacks.
    """

    images: Tensor
    stats: dict[str, Tensor]
    reconstruction: Tensor | None = None
    changed: Tensor | None = None

    @torch.no_grad()
    def measure(self, objective: Objective) -> Tensor:
        """Evaluate the objective at the adversarial images.

        An attack does not know this loss: its last objective call comes before its last step. Here
        it costs one more forward pass, so it is for pictures and reports, not for every iteration.
        Like the attack, call it inside :func:`isolate` when the objective runs a training model.

        Args:
            objective: As given to the attack.

        Returns:
            The loss, a 0-d float32 tensor, also kept as ``stats['attack/objective_after']``.
        """
        self.stats['attack/objective_after'] = objective(self.images).float()
        return self.stats['attack/objective_after']
