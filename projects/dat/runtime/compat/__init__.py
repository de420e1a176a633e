"""Work-arounds for upstream bugs, one function each, naming the bug and the version.

:func:`install` has to run before anything imports mmdet or mmpretrain; importing
``projects.dat.register`` does that. It may be called any number of times.
"""

from .checkpoints import allow_mmengine_checkpoints, refuse_unsafe_checkpoints
from .distributed import allow_processes_without_gpu
from .loader_functions import keep_scopes_from_loader_functions
from .mmcv_ext import supply_mmcv_ops

__all__ = ['install']


def install() -> None:
    """Apply every work-around that this environment needs."""
    supply_mmcv_ops()
    allow_mmengine_checkpoints()
    refuse_unsafe_checkpoints()
    allow_processes_without_gpu()
    keep_scopes_from_loader_functions()
