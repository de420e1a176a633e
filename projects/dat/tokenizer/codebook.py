"""Nearest-code search with bounded memory."""

import torch
from torch import Tensor

# Small chunks stay in a CPU core's cache; a GPU wants enough rows to fill it, far below 512 MiB all
# the same.
_CHUNK_BYTES = {'cpu': 4 << 20}
_DEFAULT_CHUNK_BYTES = 128 << 20


@torch.no_grad()
def nearest_codes(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Index of the code nearest to each vector in Euclidean distance, the lowest index where
    several are.

    ``argmin_k |v - c_k|^2 = argmin_k |c_k|^2 - 2 v.c_k`` is evaluated for some rows at a time, so
    that the full distance matrix never exists, and in fp64, because in fp32 the expansion cancels
    and turns near ties around.

    Args:
        vectors: (M, D), any float type.
        codebook: (K, D), any float type.

    Returns:
        LongTensor (M,) with values in 0..K-1.

    Raises:
        ValueError: if the shapes do not fit.
    """
    if vectors.ndim != 2 or codebook.ndim != 2 or vectors.shape[1] != codebook.shape[1]:
        raise ValueError(
            f'expected vectors (M, D) and a codebook (K, D), got {tuple(vectors.shape)} and '
            f'{tuple(codebook.shape)}'
        )
    codes = codebook.double()
    norms = codes.square().sum(dim=1)
    largest = norms.max()
    codes = (-2 * codes).T
    chunk_bytes = _CHUNK_BYTES.get(vectors.device.type, _DEFAULT_CHUNK_BYTES)
    rows = max(1, chunk_bytes // (8 * len(norms)))
    scores = codes.new_empty(min(rows, len(vectors)), len(norms))
    indices = torch.empty(len(vectors), dtype=torch.long, device=vectors.device)
    for start in range(0, len(vectors), rows):
        chunk = vectors[start : start + rows].double()
        torch.addmm(norms, chunk, codes, out=scores[: len(chunk)])
        distances = scores[: len(chunk)]
        # Equal codes can differ in the last bit, by where a column lies in the matrix product.
        best = distances.amin(dim=1, keepdim=True)
        ties = distances <= best + 1e-14 * (best.abs() + largest)
        torch.argmax(ties.byte(), dim=1, out=indices[start : start + rows])
    return indices
