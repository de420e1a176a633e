"""Reading MMEngine's own checkpoints with ``weights_only`` left on."""

import pickle
from collections.abc import Callable

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from numpy.core import multiarray


def allow_mmengine_checkpoints() -> None:
    """Let a run resume from its checkpoint.

    Bug: torch >= 2.6 loads with ``weights_only=True`` and refuses the log history that
    mmengine 0.10.7 saves in every checkpoint, so ``--resume`` fails
    (https://github.com/open-mmlab/mmengine/issues/1655).

    What becomes loadable is that history and numpy's numbers, arrays of them included; nothing
    that could run code from the file.
    """
    number_types = {type(np.dtype(code)) for code in '?bBhHiIlLqQefdFD'}
    torch.serialization.add_safe_globals([
        HistoryBuffer,
        (_history_statistic, 'builtins.getattr'),
        np.ndarray,
        np.dtype,
        *number_types,
        multiarray._reconstruct,
        multiarray.scalar,
    ])


def _history_statistic(owner: type, name: str) -> Callable:
    """What ``getattr`` may do in a checkpoint: name a statistic of the log history."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise pickle.UnpicklingError(
            f'Trying to load unsupported GLOBAL {name} of {owner!r}, which no run of MMEngine saves'
        )
    return getattr(owner, name)
