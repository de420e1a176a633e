"""The gradient of an objective with respect to the images alone."""

import torch
from torch import Tensor

from .result import Objective


def image_gradient(
    images: Tensor, objective: Objective, loss_scale: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Evaluate the objective once and differentiate it with respect to the images.

    One forward and one backward pass, in whatever autocast the caller has set. No ``.grad`` field
    is written, neither the images' nor any parameter's.

    Args:
        images: Float32 (N, 3, H, W), RGB, 0..1.
        objective: Maps images to a 0-d loss.
        loss_scale: Factor on the loss during the backward pass, divided out of the float32 result.
            Under float16 autocast it keeps small gradients from vanishing; a power of two changes
            no other bit. Defaults to 1.

    Returns:
        The unscaled loss (0-d float32) and its gradient (float32, shaped like ``images``), both
        without a graph. Either may be non-finite: that is the caller's to handle.

    Raises:
        ValueError: The loss is not 0-d, or does not depend on the images.
    """
    leaf = images.detach().requires_grad_()
    with torch.enable_grad():
        loss = objective(leaf)
        if loss.ndim != 0 or not loss.requires_grad:
            raise ValueError(
                'The objective must return a 0-d loss that depends on the images, but returned '
                f'shape {tuple(loss.shape)} with requires_grad={loss.requires_grad}: sum the loss '
                'terms, and do not detach them.'
            )
        (gradient,) = torch.autograd.grad(loss.float() * loss_scale, leaf)
    return loss.detach().float(), gradient / loss_scale
