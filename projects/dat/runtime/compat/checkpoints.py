"""Reading MMEngine's own checkpoints with ``weights_only`` left on."""

import functools
import pickle
from collections.abc import Callable

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint


def allow_mmengine_checkpoints() -> None:
    """Let a run resume from its checkpoint.

    Bug: torch >= 2.6 loads with ``weights_only=True`` and refuses the log history that
    mmengine 0.10.7 saves in every checkpoint, so ``--resume`` fails
    (https://github.com/open-mmlab/mmengine/issues/1655).

    What becomes loadable is that history and numpy's numbers, arrays of them included; nothing
    that could run code from the file.
    """
    number_types = {type(np.dtype(code)) for code in '?bBhHiIlLqQefdFD'}
    rebuild, _ = np.empty(0).__reduce__()[:2]
    scalar, _ = np.float64().__reduce__()
    torch.serialization.add_safe_globals([
        HistoryBuffer,
        (_history_statistic, 'builtins.getattr'),
        np.ndarray,
        np.dtype,
        *number_types,
        # numpy 2 moved these: with both names, either numpy reads what the other wrote.
        *[(function, f'numpy.{core}.multiarray.{function.__name__}')
          for function in (rebuild, scalar) for core in ('core', '_core')],
    ])


def _history_statistic(owner: type, name: str) -> Callable:
    """What ``getattr`` may do in a checkpoint: name a statistic of the log history."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise pickle.UnpicklingError(
            f'Trying to load unsupported GLOBAL {name} of {owner!r}, which no run of MMEngine saves'
        )
    return getattr(owner, name)


def refuse_unsafe_checkpoints() -> None:
    """Leave ``weights_only`` on whatever is in a file.

    Bug: onedl-mmengine 0.10.12 allows every use of ``getattr``, and reads a file that is still
    refused once more with ``weights_only=False``, which runs the code in it.
    """
    if hasattr(checkpoint, '_safe_torch_load'):
        checkpoint._safe_torch_load = functools.partial(torch.load, weights_only=True)
