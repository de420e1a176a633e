"""Finds the step size that changes a given share of tokens, and keeps it there."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from projects.dat.runtime.arguments import check_numbers
from projects.dat.runtime.errors import ArgumentError

# The most that one batch may change alpha by, so that an odd one cannot throw it far.
_MAX_RATIO = 2.0
_BISECTIONS = 8  # leaves alpha uncertain by 5 %, less than batches differ
_FALLBACK = 1.0  # where the first batch cannot be attacked


class TokenChangeController:
    """Adapts a discrete attack's alpha so that ``attack/token_change`` stays at a target.

    The same alpha changes fewer tokens of a larger image, and others under another tokenizer or as
    the model trains; the share of changed tokens means the same everywhere. On the first batch
    alpha is found by bisection, which costs some passes of the tokenizer's encoder and none of the
    model. After each batch

        log alpha <- log alpha + gain * (1 - token_change / target),

    by at most a factor of 2, within ``limits``. The error is linear in the token change, hence
    unbiased for small batches, where a handful of tokens (or none) change. The target is the best
    row of DAT's Table 8 (https://arxiv.org/abs/2209.07735); the paper has no controller, and
    ``gain``, ``limits`` and the rules are ours, chosen by simulation on the response of that table
    (token change ~ alpha^0.9): alpha settles in about 10 batches from a factor of 3 off and in 30
    from a factor of 100, and then wavers by 0.4 of the batches' relative noise.

    ``log_alpha`` (0-d float32) is the whole state. It lives on the device of the last batch, and no
    update waits for that device. Several processes each update their own; average ``log_alpha``
    over them to keep them equal.

    Args:
        target: Wanted share of changed tokens, in 0..1, exclusive. Defaults to 0.038.
        alpha: Step size to start from. Defaults to None: found on the first batch.
        gain: Share of the error corrected per batch, in 0..1, exclusive of 0. Defaults to 0.2.
        limits: Smallest and largest alpha. The default suits L2 and Linf steps; raw steps are in
            units of the loss and may need wider ones. Defaults to (1e-4, 1e2).

    Raises:
        ArgumentError: An argument is out of range; it is a ValueError.
    """

    def __init__(
        self,
        target: float = 0.038,
        alpha: float | None = None,
        gain: float = 0.2,
        limits: tuple[float, float] = (1e-4, 1e2),
    ):
        start = _FALLBACK if alpha is None else alpha
        check_numbers(target=target, gain=gain, alpha=start)
        if not isinstance(limits, Sequence) or len(limits) != 2:
            raise ArgumentError(f'limits must be a pair such as (1e-4, 1e2), not {limits!r}')
        check_numbers(low=limits[0], high=limits[1])
        if not 0 < target < 1:
            raise ArgumentError(f'target must lie between 0 and 1, such as 0.038, not {target}')
        if not 0 < gain <= 1:
            raise ArgumentError(f'gain must lie in 0..1 and not be 0, such as 0.2, not {gain}')
        if not 0 < limits[0] <= start <= limits[1]:
            raise ArgumentError(
                f'alpha and limits must satisfy 0 < low <= alpha <= high, not {start} and {limits}'
            )
        self.target = target
        self.gain = gain
        self.limits = tuple(limits)
        self.log_alpha = torch.tensor(math.log(start))
        self.calibrated = alpha is not None

    def alpha(self, device: torch.device) -> Tensor:
        """The current step size, 0-d float32, and a move of the state to ``device`` if need be."""
        self.log_alpha = self.log_alpha.to(device)
        return self.log_alpha.exp()

    @torch.no_grad()
    def calibrate(self, token_change: Callable[[Tensor], Tensor], skipped: Tensor) -> Tensor:
        """Find alpha on a batch; afterwards ``calibrated`` is True.

        Args:
            token_change: The share of changed tokens, 0-d, that a step size gives.
            skipped: 0-d bool; where True the batch says nothing and alpha stays.

        Returns:
            The step size.
        """
        low, high = (torch.full_like(self.log_alpha, math.log(limit)) for limit in self.limits)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            little = token_change(middle.exp()) < self.target
            low, high = torch.where(little, middle, low), torch.where(little, high, middle)
        # No step changes enough tokens: a gradient of zero, of a batch without objects.
        silent = skipped | (high >= math.log(self.limits[1]))
        self.log_alpha = torch.where(silent, self.log_alpha, (low + high) / 2)
        self.calibrated = True
        return self.log_alpha.exp()

    @torch.no_grad()
    def update(self, token_change: Tensor, skipped: Tensor) -> None:
        """Learn from one batch.

        Args:
            token_change: Share of changed tokens, 0-d, 0..1.
            skipped: 0-d bool; where True the batch says nothing and alpha stays.
        """
        bound = math.log(_MAX_RATIO)
        change = (self.gain * (1 - token_change / self.target)).clamp(-bound, bound)
        moved = (self.log_alpha + change).clamp(*map(math.log, self.limits))
        self.log_alpha = torch.where(skipped, self.log_alpha, moved)

    def state_dict(self) -> dict[str, Tensor]:
        """The state, on the CPU."""
        return {'log_alpha': self.log_alpha.detach().cpu().clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.log_alpha = state['log_alpha'].detach().float().clone()
        self.calibrated = True
