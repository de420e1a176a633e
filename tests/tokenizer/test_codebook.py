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


def test_near_ties_that_only_fp64_tells_apart():
    """Pairs of codes on opposite sides of a vector, as far as fp32 can hold them."""
    generator = torch.Generator().manual_seed(0)
    vectors = 4 * torch.cartesian_prod(*[torch.arange(-3.0, 4.0)] * 3)
    aside = torch.randn(vectors.shape, generator=generator) / 2
    codes = torch.cat([vectors + aside, vectors - aside])
    assert torch.equal(nearest_codes(vectors, codes), brute_force(vectors, codes))


def test_ties_go_to_the_lowest_index():
    generator = torch.Generator().manual_seed(0)
    distinct = torch.randn(301, 4, generator=generator)
    shuffled = distinct.repeat(3, 1)[torch.randperm(903, generator=generator)]
    vectors = torch.randn(2000, 4, generator=generator)
    assert torch.equal(nearest_codes(vectors, shuffled), brute_force(vectors, shuffled))


def test_ties_between_codes_on_all_sides():
    """Small integers: fp64 is exact, and most vectors have several nearest codes."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randint(-8, 9, (500, 3), generator=generator)
    codes = 2 * torch.randint(-4, 5, (300, 3), generator=generator)
    assert torch.equal(nearest_codes(vectors.half(), codes.half()), brute_force(vectors, codes))


@pytest.mark.parametrize('scale', [1e-30, 1e-3, 1e30])
def test_any_scale(scale):
    generator = torch.Generator().manual_seed(0)
    vectors, codes = (torch.randn(n, 4, generator=generator) * scale for n in (300, 100))
    assert torch.equal(nearest_codes(vectors, codes), brute_force(vectors, codes))


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_codes_that_only_the_full_search_tells_apart(dtype):
    """Codes within fp32's rounding error of each other, seen from afar: all are candidates."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(300, 4, generator=generator, dtype=dtype)
    vectors = 1e6 * torch.randn(200, 4, generator=generator, dtype=dtype)
    assert torch.equal(nearest_codes(vectors, codes), brute_force(vectors, codes))
    same = codes[:1].repeat(300, 1)
    assert not nearest_codes(vectors, same).any()


def test_the_callers_precision_does_not_reach_the_search():
    generator = torch.Generator().manual_seed(0)
    vectors, codes = (torch.randn(n, 4, generator=generator) for n in (500, 2000))
    torch.set_float32_matmul_precision('medium')
    try:
        with torch.autocast('cpu', torch.bfloat16):
            found = nearest_codes(vectors, codes)
    finally:
        torch.set_float32_matmul_precision('highest')
    assert torch.equal(found, brute_force(vectors, codes))


def test_vectors_that_are_not_finite_get_some_token():
    vectors = torch.randn(4, 4)
    vectors[1, 2], vectors[2, 0] = torch.nan, torch.inf
    codes = torch.randn(100, 4)
    indices = nearest_codes(vectors, codes)
    assert indices.min() >= 0 and indices.max() < 100
    assert torch.equal(indices[[0, 3]], brute_force(vectors[[0, 3]], codes))


def test_no_vectors():
    assert nearest_codes(torch.empty(0, 4), torch.randn(5, 4)).shape == (0,)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_chunks_do_not_change_the_result(monkeypatch, dtype):
    generator = torch.Generator().manual_seed(0)
    vectors, codes = (torch.randn(n, 4, generator=generator, dtype=dtype) for n in (1001, 64))
    whole = nearest_codes(vectors, codes)
    monkeypatch.setitem(codebook._CHUNK_BYTES, 'cpu', 64 * 4 * 37)
    assert torch.equal(nearest_codes(vectors, codes), whole)


def test_memory_is_bounded_at_512_px_and_batch_16():
    """65,536 vectors, 16,384 codes: no tensor made on the way exceeds a chunk of scores, and all
    that are made for one chunk would fit into 512 MiB even if none were freed."""
    generator = torch.Generator().manual_seed(0)
    vectors, codes = (torch.randn(n, 4, generator=generator) for n in (65536, 16384))
    made = []
    with _Allocations(made):
        nearest_codes(vectors, codes)
    limit = codebook._CHUNK_BYTES['cpu']
    assert max(made) <= limit
    assert sum(made) / (65536 * 16384 * 4 / limit) < 512 << 20


def test_memory_on_a_gpu():
    """As above, for a GPU's larger chunks, on a device without memory."""
    limit = codebook._DEFAULT_CHUNK_BYTES
    # A chunk of scores, its boolean ties and their byte copy live at once, beside fp64 codes.
    assert limit * (1 + 2 / 8) + 2 * 16384 * 4 * 8 + 65536 * 8 < 512 << 20
    made = []
    with _Allocations(made):
        nearest_codes(torch.empty(65536, 4, device='meta'), torch.empty(16384, 4, device='meta'))
    assert max(made) <= limit


def test_the_search_of_gpus_equals_brute_force(monkeypatch):
    """In chunks, with ties: every code is there three times."""
    monkeypatch.setitem(codebook._CHUNK_BYTES, 'cpu', 8 * 903 * 37)
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(301, 4, generator=generator).repeat(3, 1)
    codes = codes[torch.randperm(903, generator=generator)]
    vectors = torch.randn(1001, 4, generator=generator)
    found = codebook._exhaustive_search(vectors, codes)
    assert torch.equal(found, brute_force(vectors, codes))


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


@pytest.mark.parametrize('vectors, codes', [((3, 4), (5, 3)), ((3, 4, 1), (5, 4)), ((4,), (5, 4))])
def test_shapes_that_do_not_fit(vectors, codes):
    with pytest.raises(ValueError, match=r'expected vectors \(M, D\)'):
        nearest_codes(torch.zeros(vectors), torch.zeros(codes))
