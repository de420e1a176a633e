"""Running a training model without leaving a trace in it."""

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

_PLAIN = frozenset({list, dict})


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
    modules = list(model.modules())
    parameters = _tensors(module._parameters for module in modules)
    buffers = _tensors(module._buffers for module in modules)
    trainable = [p for p in parameters if p.requires_grad]
    versions = [p._version for p in trainable]
    kept = [*buffers, *(p for p in parameters if not p.requires_grad)]
    copies = [torch.empty_like(tensor) for tensor in kept]
    _copy(kept, copies)
    flags = [p.requires_grad for p in parameters]
    attributes = _snapshot(modules)
    python_state, numpy_state = random.getstate(), np.random.get_state()
    devices = {t.device for t in (*parameters, *buffers) if t.is_cuda}

    with torch.random.fork_rng(devices=devices):
        try:
            for parameter in trainable:
                parameter.requires_grad_(False)
            yield
        finally:
            _restore(attributes)
            _copy(copies, kept)
            for parameter, flag in zip(parameters, flags, strict=True):
                parameter.requires_grad_(flag)
            random.setstate(python_state)
            np.random.set_state(numpy_state)

    for parameter, version in zip(trainable, versions, strict=True):
        if parameter._version != version:
            name = next(name for name, p in model.named_parameters() if p is parameter)
            raise RuntimeError(
                f'The forward pass changed the trainable parameter {name} in place, which cannot '
                'be undone here: move that update out of the forward pass.'
            )


def _tensors(dicts: Iterable[dict[str, Tensor | None]]) -> list[Tensor]:
    # A dict, because tied layers share theirs.
    found = {t: None for tensors in dicts for t in tensors.values() if t is not None}
    return list(found)


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


# Large models have hundreds of modules, each with some thirty attributes: these two make up most of
# what isolation costs, hence their flat lists.
def _snapshot(modules: list[nn.Module]) -> tuple[list, list]:
    # Among the plain dicts are _parameters and _buffers: replaced tensors come back too.
    containers = [vars(module) for module in modules]
    containers += [v for attributes in containers for v in attributes.values() if type(v) in _PLAIN]
    return containers, [container.copy() for container in containers]


def _restore(snapshot: tuple[list, list]) -> None:
    for container, content in zip(*snapshot, strict=True):
        container.clear()
        container.extend(content) if type(container) is list else container.update(content)
