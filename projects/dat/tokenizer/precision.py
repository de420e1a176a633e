"""Which floating-point numbers each half of a tokenizer computes in."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from projects.dat.runtime.errors import ArgumentError

PARTS = ('encode', 'decode')
PRECISIONS = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}


def per_part(precision: str | Mapping[str, str]) -> dict[str, str]:
    """One precision for both parts, or one for each, as a dict with the keys of ``PARTS``.

    Raises:
        ArgumentError: one sentence, if a part is missing or unknown, or a precision unknown.
    """
    parts = dict(precision) if isinstance(precision, Mapping) else dict.fromkeys(PARTS, precision)
    if parts.keys() != set(PARTS):
        raise ArgumentError(
            f'expected a precision for each of {" and ".join(PARTS)}, got {parts}; write '
            "dict(encode='fp32', decode='bf16'), or one name for both"
        )
    for part, name in parts.items():
        if name not in PRECISIONS:
            raise ArgumentError(
                f'expected precision to be one of {", ".join(PRECISIONS)}, got {name!r} for {part}'
            )
    return parts


@contextmanager
def true_fp32() -> Iterator[None]:
    """No TF32 and no bf16 inside convolutions and products of fp32 tensors.

    torch runs fp32 convolutions in TF32 on GPUs from Ampere on, and whatever else its user allows
    (https://docs.pytorch.org/docs/stable/notes/cuda.html). These settings belong to the process:
    other threads see the change while it lasts, and torch refuses them its
    older flags (``allow_tf32``). On leaving they are as before.
    """
    backends = torch.backends
    operators = (
        backends.cudnn.conv,
        backends.cuda.matmul,
        backends.mkldnn.conv,
        backends.mkldnn.matmul,
    )
    found = [(operator, operator.fp32_precision) for operator in operators]
    # Where 'none' is set, fp32 is what is computed.
    changed = [(operator, value) for operator, value in found if value not in ('ieee', 'none')]
    for operator, _ in changed:
        operator.fp32_precision = 'ieee'
    try:
        yield
    finally:
        for operator, value in changed:
            operator.fp32_precision = value
