"""Several processes on a machine without a GPU."""

import functools

import torch
from mmengine.dist import utils


def allow_processes_without_gpu() -> None:
    """Let ``launcher='pytorch'`` start on CPUs with gloo.

    Bug: mmengine 0.10.7 gives every process the GPU of its rank before it looks at the backend, and
    ``torch.cuda.set_device`` raises where there is none.
    """
    original = utils._init_dist_pytorch
    if hasattr(original, '__wrapped__'):
        return

    @functools.wraps(original)
    def init(backend: str, init_backend: str = 'torch', **kwargs) -> None:
        if backend != 'gloo' or torch.cuda.is_available():
            original(backend, init_backend=init_backend, **kwargs)
        else:
            torch.distributed.init_process_group(backend=backend, **kwargs)

    utils._init_dist_pytorch = init
