import tracemalloc

import pytest
import torch

from projects.dat.tokenizer import codebook, nearest_codes


def brute_force(vectors, codes):
    """Squared distances term by term in fp64; argmin takes the lowest of equal indices."""
    distances = (vectors.double()[:, None] - codes.double()[None]).square().sum(-1)
    return distances.argmin(1)


@pytest.mark.parametrize(
    'num, size, dim', [(1, 1, 4), (257, 33, 4), (1000, 512, 4), (300, 200, 256)]
)
@pytest.mark.parametrize('offset', [0.0, 100.0], ids=['centered', 'far from the origin'])
def test_equals_brute_force(num, size, dim, offset):
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(num, dim, generator=generator) + offset
    codes = torch.randn(size, dim, generator=generator) + offset
    assert torch.equal(nearest_codes(vectors, codes), brute_force(vectors, codes))


def test_near_ties_fall_as_in_exact_arithmetic():
    """Two codes whose distances differ by less than the cancellation of fp32 at this magnitude."""
    codes = torch.tensor([[1000.0, 0.0], [1000.0, 0.001]])
    vectors = torch.tensor([[1000.0, 0.0004], [1000.0, 0.0006]])
    assert nearest_codes(vectors, codes).tolist() == [0, 1]


def test_ties_go_to_the_lowest_index():
    generator = torch.Generator().manual_seed(0)
    distinct = torch.randn(301, 4, generator=generator)
    shuffled = distinct.repeat(3, 1)[torch.randperm(903, generator=generator)]
    vectors = torch.randn(2000, 4, generator=generator)
    assert torch.equal(nearest_codes(vectors, shuffled), brute_force(vectors, shuffled))


def test_chunks_do_not_change_the_result(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    vectors, codes = (torch.randn(n, 4, generator=generator) for n in (1001, 64))
    whole = nearest_codes(vectors, codes)
    monkeypatch.setitem(codebook._CHUNK_BYTES, 'cpu', 64 * 8 * 7)
    assert torch.equal(nearest_codes(vectors, codes), whole)


@pytest.mark.parametrize('device_type', ['cpu', 'cuda'])
def test_memory_is_bounded_at_512_px_and_batch_16(monkeypatch, device_type):
    """65,536 vectors, 16,384 codes: no tensor made on the way, nor their sum, exceeds 512 MiB."""
    limit = codebook._CHUNK_BYTES.get(device_type, codebook._DEFAULT_CHUNK_BYTES)
    monkeypatch.setitem(codebook._CHUNK_BYTES, 'meta', limit)
    # A chunk of scores, its boolean ties and their byte copy live at once, beside fp64 codes.
    assert limit * (1 + 2 / 8) + 2 * 16384 * 4 * 8 + 65536 * 8 < 512 << 20
    made = []
    with _Allocations(made):
        nearest_codes(torch.empty(65536, 4, device='meta'), torch.empty(16384, 4, device='meta'))
    assert max(made) <= limit


class _Allocations(torch.utils._python_dispatch.TorchDispatchMode):
    """Bytes of every tensor that any operator returns."""

    def __init__(self, made: list):
        super().__init__()
        self.made = made

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.made.append(out.numel() * out.element_size())
        return out


def test_no_trace_of_python_memory():
    """The loop over chunks keeps nothing."""
    vectors, codes = torch.randn(5000, 4), torch.randn(512, 4)
    tracemalloc.start()
    nearest_codes(vectors, codes)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize('vectors, codes', [((3, 4), (5, 3)), ((3, 4, 1), (5, 4)), ((4,), (5, 4))])
def test_shapes_that_do_not_fit(vectors, codes):
    with pytest.raises(ValueError, match=r'expected vectors \(M, D\)'):
        nearest_codes(torch.zeros(vectors), torch.zeros(codes))
