"""Running a training model without leaving a trace in it."""

import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def isolate(model: nn.Module) -> Iterator[None]:
    """Inside, the model may be run in training mode; afterwards it is as before, bit for bit.

    Put it around an attack on the model that is being trained:

        with isolate(model):
            result = attack(images, objective)

    Inside, no parameter requires a gradient, so a backward pass computes the images' alone and no
    ``.grad`` is written. Restored afterwards, also when an exception leaves the block:

    - every buffer (batch-norm statistics, queues, counters), whether changed in place or replaced;
    - every parameter that did not require a gradient (momentum encoders), likewise;
    - every ``requires_grad`` flag;
    - every module's plain attributes (training flags, Python counters), and the content of its
      plain lists and dicts, one level deep;
    - the random states of Python, NumPy, torch's CPU and the model's CUDA devices.

    It costs one copy of the buffers and of the parameters that require no gradient, and does not
    wait for the device. Parameters that require a gradient are the optimizer's to change, so they
    are watched and not copied.

    Args:
        model: Any module, not wrapped for data-parallel training.

    Raises:
        RuntimeError: A parameter that requires a gradient was changed in place inside.
    """
    parameters = dict(model.named_parameters())
    trainable = {name: p for name, p in parameters.items() if p.requires_grad}
    versions = {name: p._version for name, p in trainable.items()}
    kept = [*model.buffers(), *(p for p in parameters.values() if not p.requires_grad)]
    copies = [torch.empty_like(tensor) for tensor in kept]
    _copy(kept, copies)
    flags = [(p, p.requires_grad) for p in parameters.values()]
    attributes = [(module, _snapshot(module)) for module in model.modules()]
    python_state, numpy_state = random.getstate(), np.random.get_state()
    devices = {t.device for t in (*parameters.values(), *kept) if t.is_cuda}

    with torch.random.fork_rng(devices=devices):
        try:
            for parameter in trainable.values():
                parameter.requires_grad_(False)
            yield
        finally:
            for module, snapshot in attributes:
                _restore(module, snapshot)
            _copy(copies, kept)
            for parameter, flag in flags:
                parameter.requires_grad_(flag)
            random.setstate(python_state)
            np.random.set_state(numpy_state)

    for name, parameter in trainable.items():
        if parameter._version != versions[name]:
            raise RuntimeError(
                f'The forward pass changed the trainable parameter {name} in place, which cannot '
                'be undone here: move that update out of the forward pass.'
            )


@torch.no_grad()
def _copy(sources: list[Tensor], targets: list[Tensor]) -> None:
    # torch fuses such copies only among tensors of one device and type.
    groups = defaultdict(lambda: ([], []))
    for source, target in zip(sources, targets, strict=True):
        group = groups[target.device, target.dtype]
        group[0].append(source)
        group[1].append(target)
    for group_sources, group_targets in groups.values():
        torch._foreach_copy_(group_targets, group_sources)


def _snapshot(module: nn.Module) -> tuple[dict, list]:
    # Among the plain dicts are _parameters and _buffers: replaced tensors come back too.
    attributes = dict(vars(module))
    contents = [(v, v.copy()) for v in attributes.values() if type(v) in (list, dict)]
    return attributes, contents


def _restore(module: nn.Module, snapshot: tuple[dict, list]) -> None:
    attributes, contents = snapshot
    vars(module).clear()
    vars(module).update(attributes)
    for container, content in contents:
        container.clear()
        container.extend(content) if type(container) is list else container.update(content)
