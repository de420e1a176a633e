"""Nearest-code search on CUDA, in two Triton kernels.

The first computes a tile of scores ``|c|^2 - 2 v.c`` on tensor cores and keeps its least score per
vector: M x K / 128 numbers. The second looks, for each vector, at the tiles whose least score is
within the rounding error of the smallest, usually one, and decides by distances in fp64. Nothing
waits for the device.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

# Of a tile of scores: vectors, codes, and dimensions that are multiplied at a time.
_ROWS, _CODES = 64, 128
_MINIMA_BYTES = 64 << 20


@triton.jit
def _score_tiles(
    vectors,
    codebook,
    norms,
    minima,  # (M, blocks)
    largest,  # (blocks,): the largest |c|^2 of each block of codes
    num,
    size,
    blocks,
    DIM: tl.constexpr,
    ROWS: tl.constexpr,
    CODES: tl.constexpr,
    DIMS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    block = tl.program_id(1)
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    codes = block * CODES + tl.arange(0, CODES)
    products = tl.zeros((ROWS, CODES), tl.float32)
    for start in range(0, DIM, DIMS):
        dims = start + tl.arange(0, DIMS)
        inside = dims < DIM
        v = tl.load(
            vectors + rows[:, None] * DIM + dims[None, :],
            (rows < num)[:, None] & inside[None, :],
            0.0,
        )
        c = tl.load(
            codebook + codes[None, :] * DIM + dims[:, None],
            (codes < size)[None, :] & inside[:, None],
            0.0,
        )
        products = tl.dot(v, c, products, input_precision=PRECISION)
    norm = tl.load(norms + codes, codes < size, 0.0)
    tl.store(largest + block, tl.max(norm * norm, axis=0), tl.program_id(0) == 0)
    square = tl.where(codes < size, norm * norm, float('inf'))
    scores = square[None, :] - 2 * products
    tl.store(minima + rows * blocks + block, tl.min(scores, axis=1), rows < num)


@triton.jit
def _decide(
    vectors,
    codebook,
    minima,
    largest,
    indices,
    size,
    blocks,
    unit,
    DIM: tl.constexpr,
    CODES: tl.constexpr,
    DIMS: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    row = tl.program_id(0)
    numbers = tl.arange(0, BLOCKS)
    least = tl.load(minima + row * blocks + numbers, numbers < blocks, float('inf'))
    norm = tl.max(tl.load(largest + numbers, numbers < blocks, 0.0), axis=0)
    square = tl.zeros((DIMS,), tl.float32)
    for start in range(0, DIM, DIMS):
        dims = start + tl.arange(0, DIMS)
        v = tl.load(vectors + row * DIM + dims, dims < DIM, 0.0)
        square += v * v
    # Of the score and of the least one; the last term stands for what underflows.
    error = 2 * unit * (2 * tl.sqrt(tl.sum(square, axis=0) * norm) + norm) + 1e-30
    candidate = (numbers < blocks) & (least <= tl.min(least, axis=0) + error)
    best = tl.full((), float('inf'), tl.float64)
    index = tl.full((), 0, tl.int32)
    block = tl.min(tl.where(candidate, numbers, BLOCKS), axis=0)
    while block < BLOCKS:
        codes = block * CODES + tl.arange(0, CODES)
        distances = tl.zeros((CODES,), tl.float64)
        for start in range(0, DIM, DIMS):
            dims = start + tl.arange(0, DIMS)
            v = tl.load(vectors + row * DIM + dims, dims < DIM, 0.0)
            c = tl.load(
                codebook + codes[:, None] * DIM + dims[None, :],
                (codes < size)[:, None] & (dims < DIM)[None, :],
                0.0,
            )
            difference = v[None, :].to(tl.float64) - c.to(tl.float64)
            distances += tl.sum(difference * difference, axis=1)
        distances = tl.where(codes < size, distances, float('inf'))
        nearest = tl.min(distances, axis=0)
        # Blocks come in ascending order: among equals the first stays.
        if nearest < best:
            best = nearest
            index = tl.min(tl.where(distances == nearest, codes, size), axis=0)
        candidate = candidate & (numbers > block)
        block = tl.min(tl.where(candidate, numbers, BLOCKS), axis=0)
    tl.store(indices + row, index.to(tl.int64))


def nearest_codes(vectors: Tensor, codebook: Tensor) -> Tensor:
    """As :func:`projects.dat.tokenizer.nearest_codes`, for CUDA tensors of at most fp32."""
    vectors, codebook = vectors.float().contiguous(), codebook.float().contiguous()
    size, dim = codebook.shape
    blocks = triton.cdiv(size, _CODES)
    # Share of the sum of magnitudes by which a product of D terms can be wrong: TF32 drops 13 of 24
    # bits of both factors; tf32x3 multiplies what it drops as well. With few dimensions, distances
    # lie close together, and the better bound saves more than it costs.
    precision, unit = ('tf32x3', 2**-18) if dim <= 64 else ('tf32', 2**-9)
    unit += dim * 2**-21
    norms = torch.linalg.vector_norm(codebook, dim=1)
    rows = max(_ROWS, min(_MINIMA_BYTES // (4 * blocks), 2**31 // dim - _ROWS))
    minima = vectors.new_empty(min(rows, len(vectors)), blocks)
    largest = vectors.new_empty(blocks)
    indices = torch.empty(len(vectors), dtype=torch.long, device=vectors.device)
    with torch.cuda.device_of(vectors):
        for start in range(0, len(vectors), rows):
            chunk, found = vectors[start : start + rows], indices[start : start + rows]
            _score_tiles[(triton.cdiv(len(chunk), _ROWS), blocks)](
                chunk,
                codebook,
                norms,
                minima,
                largest,
                len(chunk),
                size,
                blocks,
                DIM=dim,
                ROWS=_ROWS,
                CODES=_CODES,
                DIMS=16 if dim <= 16 else 32,
                PRECISION=precision,
            )
            _decide[(len(chunk),)](
                chunk,
                codebook,
                minima,
                largest,
                found,
                size,
                blocks,
                unit,
                DIM=dim,
                CODES=_CODES,
                DIMS=4 if dim <= 4 else 16,
                BLOCKS=triton.next_power_of_2(blocks),
                num_warps=1 if dim <= 4 else 4,
            )
    return indices
