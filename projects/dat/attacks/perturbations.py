"""Perturbation sets: how a gradient becomes a step, and where a perturbation may lie.

Each class speaks of perturbations (N, 3, H, W) in units of the 0..1 image range, one image at a
time. Pixels that must not move have a zero gradient and a zero perturbation, so every norm here is
over the pixels that may. Sizes are floats or 0-d tensors; no method waits for the device.

The division of labour follows MadryLab's robustness library
(https://github.com/MadryLab/robustness, attack_steps.py).
"""

from collections.abc import Callable

import torch
from torch import Tensor

Size = float | Tensor

# Keeps a zero gradient zero; the constant of DAT's released code
# (https://github.com/alibaba/easyrobust, easyrobust/attacks/pgd.py).
_TINY = 1e-10


def l2_norm(delta: Tensor) -> Tensor:
    """Euclidean length of each image's perturbation: (N, 3, H, W) -> (N, 1, 1, 1)."""
    return delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


class L2:
    """The Euclidean ball: steps of length ``alpha`` along the gradient."""

    def part(self, mask: Tensor) -> Size:
        """What an image's share of the frame makes of a size meant for the whole frame.

        The square root of the share: the pixels then move like those of a whole image.

        Args:
            mask: BoolTensor (N, 1, H, W), True on the image.
        """
        return mask.float().mean(dim=(1, 2, 3), keepdim=True).sqrt()

    def step(self, gradient: Tensor, alpha: Size) -> Tensor:
        """The ascent step alpha * g / (||g||_2 + 1e-10), per image."""
        return gradient * (alpha / (l2_norm(gradient) + _TINY))

    def project(self, delta: Tensor, eps: Size) -> Tensor:
        """Shorten each perturbation that is longer than ``eps`` to length ``eps``."""
        return delta * (eps / (l2_norm(delta) + _TINY)).clamp(max=1)

    def random_perturb(
        self, like: Tensor, mask: Tensor, eps: Size, generator: torch.Generator
    ) -> Tensor:
        """A Gaussian direction of length exactly ``eps`` per image.

        Args:
            like: Gives shape (N, 3, H, W), dtype and device.
            mask: BoolTensor (N, 1, H, W); zero where False.
            eps: The length.
            generator: On the device of ``like``.
        """
        noise = _noise(torch.randn, like, mask, generator)
        return noise * (eps / (l2_norm(noise) + _TINY))


class Linf:
    """The box: every pixel may move by ``eps``, steps of ``alpha`` along the gradient's sign."""

    def part(self, mask: Tensor) -> Size:
        """1: every pixel has the same bound, however many there are."""
        return 1.0

    def step(self, gradient: Tensor, alpha: Size) -> Tensor:
        """The ascent step alpha * sign(g)."""
        return alpha * gradient.sign()

    def project(self, delta: Tensor, eps: Size) -> Tensor:
        """Clip every value to -eps..eps."""
        return delta.clamp(-eps, eps)

    def random_perturb(
        self, like: Tensor, mask: Tensor, eps: Size, generator: torch.Generator
    ) -> Tensor:
        """Values uniform in -eps..eps; arguments as for :meth:`L2.random_perturb`."""
        noise = _noise(torch.rand, like, mask, generator)
        return torch.where(mask, eps * (2 * noise - 1), 0)


class Raw(L2):
    """The paper's formula to the letter: delta = alpha * g, not normalised; an L2 ball if any.

    The step then depends on the loss's scale and on how it averages over the batch. Source: DAT
    (https://arxiv.org/abs/2209.07735), Algorithm 1, line 4.
    """

    def part(self, mask: Tensor) -> Size:
        """1: the gradient alone says how far."""
        return 1.0

    def step(self, gradient: Tensor, alpha: Size) -> Tensor:
        """The ascent step alpha * g."""
        return alpha * gradient


PERTURBATIONS = {'L2': L2(), 'Linf': Linf(), 'raw': Raw()}


def _noise(sample: Callable, like: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
    noise = sample(like.shape, dtype=like.dtype, device=like.device, generator=generator)
    return torch.where(mask, noise, 0)
