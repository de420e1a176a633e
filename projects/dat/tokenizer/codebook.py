"""Nearest-code search with bounded memory."""

import math

import torch
from torch import Tensor

from .precision import true_fp32

# Small chunks stay in a CPU core's cache; a GPU wants enough rows to fill it, far below 512 MiB all
# the same.
_CHUNK_BYTES = {'cpu': 4 << 20}
_DEFAULT_CHUNK_BYTES = 128 << 20

_BLOCK = 64


@torch.no_grad()
def nearest_codes(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Index of the code nearest to each vector in Euclidean distance, the lowest index where
    several are.

    ``argmin_k |v - c_k|^2 = argmin_k |c_k|^2 - 2 v.c_k``. In fp32 this expansion cancels and turns
    near ties around. On the CPU it therefore only rules out the codes whose score exceeds the least
    by more than the rounding error can explain, and distances in fp64 decide among the others, one
    or two per vector. Other devices compute all scores in fp64, without waiting for the device. The
    full distance matrix never exists: vectors are taken some at a time.

    Args:
        vectors: (M, D), any float type.
        codebook: (K, D), any float type.

    Returns:
        LongTensor (M,) with values in 0..K-1, for vectors that are not finite too.

    Raises:
        ValueError: if the shapes do not fit.
    """
    if vectors.ndim != 2 or codebook.ndim != 2 or vectors.shape[1] != codebook.shape[1]:
        raise ValueError(
            f'expected vectors (M, D) and a codebook (K, D), got {tuple(vectors.shape)} and '
            f'{tuple(codebook.shape)}'
        )
    # The bounds on rounding errors are for numbers that fp32 can hold.
    small = torch.float64 not in (vectors.dtype, codebook.dtype)
    if small and vectors.device.type == 'cpu':
        return _pruned_search(vectors, codebook)
    return _exhaustive_search(vectors, codebook)


def _pruned_search(vectors: Tensor, codebook: Tensor) -> Tensor:
    """fp32 scores leave a few candidates for each vector, fp64 distances decide."""
    (size, dim), total = codebook.shape, len(vectors)
    blocks = math.ceil(size / _BLOCK)
    codes = codebook.double()
    center = codes.mean(dim=0)
    # Within -1..1 nothing that matters underflows.
    scale = (codes - center).abs().max().clamp(min=torch.finfo(torch.float64).tiny)
    codes = (codes - center) / scale
    norms = codes.square().sum(dim=1)
    largest = norms.max()
    # Scores are (-2c, |c|^2) . (v, 1); codes that only fill up the last block are infinitely far.
    weight = norms.new_zeros(blocks * _BLOCK, dim + 1)
    weight[:size, :dim] = -2 * codes
    weight[:size, dim] = norms
    weight[size:, dim] = math.inf
    weight = weight.float()
    rows = max(32, _CHUNK_BYTES['cpu'] // (4 * len(weight)))
    buffer = weight.new_empty(len(weight) * min(rows, total))
    indices = torch.zeros(total, dtype=torch.long)
    for start in range(0, total, rows):
        chunk = vectors[start : start + rows].double()
        scaled = (chunk - center) / scale
        # A product of D + 1 terms in fp32, of factors rounded to fp32, errs by less than (D + 8)
        # units in the last place of the sum of their magnitudes; so does the least score.
        error = (dim + 8) * 2**-24 * (2 * (scaled.square().sum(1) * largest).sqrt() + largest)
        scaled = torch.cat([scaled, torch.ones_like(scaled[:, :1])], dim=1).float().T.contiguous()
        scores = buffer[: len(weight) * len(chunk)].view(len(weight), len(chunk))
        with true_fp32():
            torch.mm(weight, scaled, out=scores)
        scores = scores.view(blocks, _BLOCK, len(chunk))
        # Whole blocks first: looking at every score once more would cost as much as computing it.
        minima = scores.amin(dim=1)
        threshold = minima.amin(dim=0) + 2 * error.float()
        block, row = (minima <= threshold).nonzero(as_tuple=True)
        pair, member = (scores[block, :, row] <= threshold[row, None]).nonzero(as_tuple=True)
        row, code = row[pair], block[pair] * _BLOCK + member
        found = indices[start : start + rows]
        if len(code) * dim > scores.numel():
            # Far away from all codes, or the codes are all alike.
            found.copy_(_exhaustive_search(chunk, codebook))
            continue
        distances = (chunk[row] - codebook[code].double()).square().sum(dim=1)
        best = distances.new_full(found.shape, math.inf).scatter_reduce(0, row, distances, 'amin')
        nearest = distances == best[row]
        found.scatter_reduce_(0, row[nearest], code[nearest], 'amin', include_self=False)
    return indices


def _exhaustive_search(vectors: Tensor, codebook: Tensor) -> Tensor:
    """All scores in fp64, for some rows at a time.

    Codes count as equally near within 1e-14 of the largest squared norm of a code.
    """
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
