import functools
import pickle

import pytest
import torch
from skimage import data
from torch.utils.flop_counter import FlopCounterMode

from projects.dat.runtime.errors import ArgumentError
from projects.dat.tokenizer import (
    VQGAN,
    FastVQGAN,
    Tokenizer,
    load_tokenizer,
    write_state_dict,
)
from projects.dat.tokenizer.loading import BUNDLED
from projects.dat.tokenizer.tokenizer import pad_to_multiple


@pytest.fixture(scope='module')
def tokenizer():
    return load_tokenizer()


@pytest.fixture(params=['published', 'fast'])
def network(request):
    """Small, with random weights, of either layout."""
    torch.manual_seed(0)
    if request.param == 'fast':
        network = FastVQGAN(width=16, num_tokens=64)
    else:
        network = VQGAN(
            ch=32,
            ch_mult=(1, 1, 2),
            num_res_blocks=1,
            attention=(False, False, True),
            z_channels=4,
            num_tokens=64,
            embed_dim=4,
        )
    network.quantize.embedding.weight.data.normal_()
    return network.eval()


@torch.no_grad()
def plain(network, images):
    """Tokens and reconstruction in the plainest way: fp32, contiguous, all distances."""
    z = network.encode(images)
    codebook = network.quantize.embedding.weight
    tokens = z.movedim(1, -1)
    tokens = (tokens[..., None, :] - codebook).square().sum(-1).argmin(-1)
    return tokens, network.decode(codebook[tokens].movedim(-1, 1)).clamp(0, 1)


def photograph(name):
    image = torch.from_numpy(getattr(data, name)()[:256, :256].copy())
    return image.permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize('size', [(8, 8), (64, 48), (65, 47), (1, 1), (3, 20), (9, 200)])
def test_any_size(tokenizer, size):
    images = torch.rand(2, 3, *size)
    tokens = tokenizer.tokenize(images)
    assert tokens.shape == (2, -(-size[0] // 8), -(-size[1] // 8))
    assert tokens.dtype == torch.long
    reconstruction = tokenizer.reconstruct(images)
    assert reconstruction.shape == images.shape
    assert reconstruction.dtype == torch.float32
    assert reconstruction.min() >= 0 and reconstruction.max() <= 1


def test_sizes_that_fit_are_not_padded():
    images = torch.rand(1, 3, 16, 24)
    assert pad_to_multiple(images, 8) is images


def test_padding_is_a_reflection():
    padded = pad_to_multiple(torch.arange(18.0).view(1, 1, 3, 6), 4)
    assert padded.shape == (1, 1, 4, 8)
    assert padded[0, 0, 3, :6].tolist() == list(range(6, 12))
    assert padded[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 4, 3]


@pytest.mark.parametrize('bundled', BUNDLED)
@pytest.mark.parametrize('name', ['astronaut', 'chelsea', 'coffee'])
def test_bundled_reconstructions_are_recognizable(name, bundled):
    """20 dB is where objects and faces are plain to see, if soft."""
    image = photograph(name)
    mse = (load_tokenizer(bundled).reconstruct(image) - image).square().mean()
    assert -10 * mse.log10() > 20


@pytest.mark.parametrize('name, gflop', [('fast_f8_8192', 4.8), ('small_f8_8192', 2.4)])
def test_bundled_networks_cost_what_the_docs_say(name, gflop):
    """Without the search for the nearest tokens, whose cost depends on the images."""
    network = load_tokenizer(name).network
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.decode(network.encode(torch.rand(1, 3, 256, 256)))
    assert counter.get_total_flops() == pytest.approx(gflop * 1e9, rel=0.02)


def test_reconstruct_is_detokenize_after_tokenize(tokenizer):
    images = torch.rand(2, 3, 40, 56)
    expected = tokenizer.detokenize(tokenizer.tokenize(images), size=(40, 56))
    assert torch.equal(tokenizer.reconstruct(images), expected)


@pytest.mark.parametrize('dtype', [torch.uint8, torch.float32])
def test_images_in_0_to_255_are_refused(tokenizer, dtype):
    images = torch.full((1, 3, 16, 16), 255, dtype=dtype)
    with pytest.raises(ArgumentError, match='float images in 0..1, .* up to 255'):
        tokenizer.tokenize(images)


def test_micro_batches_change_nothing(tokenizer):
    images = photograph('astronaut').repeat(5, 1, 1, 1)[..., :64, :64] * torch.rand(5, 1, 1, 1)
    parts = Tokenizer(tokenizer.network, micro_batch=2)
    assert torch.equal(parts.tokenize(images), tokenizer.tokenize(images))
    torch.testing.assert_close(parts.reconstruct(images), tokenizer.reconstruct(images))


def test_equals_the_plain_path(network):
    images = torch.rand(2, 3, 48, 64)
    tokens, reconstruction = plain(network, images)
    tokenizer = Tokenizer(network)
    assert all(
        weight.is_contiguous(memory_format=torch.channels_last)
        for weight in tokenizer.network.parameters()
        if weight.ndim == 4
    )
    assert torch.equal(tokenizer.tokenize(images), tokens)
    torch.testing.assert_close(tokenizer.reconstruct(images), reconstruction, atol=1e-5, rtol=0)


@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_decode_hands_a_gradient_to_its_input_alone(network, precision):
    tokenizer = Tokenizer(network, precision, micro_batch=1)
    tokens = torch.randint(64, (2, 4, 5), generator=torch.Generator().manual_seed(0))
    entries = tokenizer.codebook[tokens].movedim(-1, 1).clone().requires_grad_()
    images = tokenizer.decode(entries, (13, 17))
    assert torch.equal(images, tokenizer.detokenize(tokens, (13, 17)))
    weight = torch.randn(images.shape, generator=torch.Generator().manual_seed(2)).double()
    (images * weight).sum().backward()
    assert all(p.grad is None for p in tokenizer.parameters())
    along = torch.randn(entries.shape, generator=torch.Generator().manual_seed(1))
    promised = (entries.grad * along).sum().item()
    if precision == 'fp32':
        with torch.no_grad():
            below, above = (
                (tokenizer.decode(entries + step * along, (13, 17)) * weight).sum().item()
                for step in (-1e-3, 1e-3)
            )
        assert (above - below) / 2e-3 == pytest.approx(promised, rel=0.05)
    else:
        assert promised != 0


def test_can_be_pickled_in_any_precision(network):
    images = torch.rand(1, 3, 48, 64)
    tokenizer = Tokenizer(network, 'bf16')
    copied = pickle.loads(pickle.dumps(tokenizer))
    assert torch.equal(copied.reconstruct(images), tokenizer.reconstruct(images))


def test_parts_in_precisions_of_their_own(network):
    images = torch.rand(2, 3, 48, 64)
    tokens, reconstruction = plain(network, images)
    encode, decode, both = (
        Tokenizer(network, precision)
        for precision in (
            dict(encode='bf16', decode='fp32'),
            dict(encode='fp32', decode='bf16'),
            'bf16',
        )
    )
    assert torch.equal(encode.tokenize(images), both.tokenize(images))
    torch.testing.assert_close(encode.detokenize(tokens), reconstruction, atol=1e-5, rtol=0)
    assert torch.equal(decode.tokenize(images), tokens)
    assert torch.equal(decode.detokenize(tokens), both.detokenize(tokens))
    difference = (both.detokenize(tokens) - reconstruction).abs()
    assert 0 < difference.mean() < 2 / 255
    assert all(p.dtype == torch.float32 for p in network.parameters())


def test_images_enter_and_leave_in_fp32(network):
    """Of two pictures that bf16 cannot tell apart at 0..1, but can around zero, tokens differ."""
    bf16 = Tokenizer(network, 'bf16')
    seen = []
    bf16.copies['bf16'].encoder.register_forward_hook(lambda m, args, out: seen.append(args[0]))
    bf16.tokenize(torch.full((1, 3, 16, 16), 0.5 + 2**-11))
    assert seen[0].dtype == torch.bfloat16
    assert (seen[0] == 2**-10).all()
    decoded = bf16.detokenize(torch.arange(12).view(1, 3, 4))
    assert not torch.equal(decoded, decoded.bfloat16().float())


def test_fp16_is_for_gpus():
    tokenizer = Tokenizer(FastVQGAN(width=8, num_tokens=8), dict(encode='fp16', decode='fp32'))
    with pytest.raises(ArgumentError, match='expected encode on the CPU in fp32 or bf16, got fp16'):
        tokenizer.tokenize(torch.rand(1, 3, 16, 16))
    assert tokenizer.detokenize(torch.zeros(1, 2, 2, dtype=torch.long)).shape == (1, 3, 16, 16)


def test_fp32_is_fp32_whatever_the_caller_allows():
    tokenizer = Tokenizer(FastVQGAN(width=8, num_tokens=8))
    conv = torch.backends.cudnn.conv
    seen = []
    for module in (tokenizer.network.encoder, tokenizer.network.decoder):
        module.register_forward_hook(lambda *_: seen.append(conv.fp32_precision))
    before = conv.fp32_precision
    tokenizer.reconstruct(torch.rand(1, 3, 16, 16))
    assert (before, seen, conv.fp32_precision) == ('tf32', ['ieee', 'ieee'], 'tf32')


@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_compiled_equals_eager(monkeypatch, precision):
    torch.manual_seed(0)
    network = FastVQGAN(width=8, encoder_depth=(1, 1), decoder_depth=(1, 1), num_tokens=32)
    network.quantize.embedding.weight.data.normal_()
    images = torch.rand(2, 3, 24, 32)
    expected = Tokenizer(network, precision).reconstruct(images)
    # No code generator: it would take longer than all tests here.
    compiled = []
    compile = functools.partial(torch.compile, backend='eager')
    monkeypatch.setattr(torch, 'compile', lambda f: compiled.append(f.__name__) or compile(f))
    found = Tokenizer(network, precision, compile=True).reconstruct(images)
    assert compiled == ['encode', 'decode']
    torch.testing.assert_close(found, expected)


def test_compiles_only_on_demand(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(torch, 'compile', lambda f: calls.append(f) or f)
    path = tmp_path / 'small.safetensors'
    write_state_dict(FastVQGAN(width=8, num_tokens=8).state_dict(), path, {})
    load_tokenizer(path).reconstruct(torch.rand(1, 3, 16, 16))
    assert calls == []
    load_tokenizer(path, dict(encode='fp32', decode='bf16'), compile=True)
    assert len(calls) == 2


def test_bf16_keeps_most_tokens_and_nearly_all_of_the_picture(tokenizer):
    image = photograph('astronaut')
    half = Tokenizer(tokenizer.network, precision='bf16')
    tokens, exact = half.tokenize(image), tokenizer.tokenize(image)
    assert half.detokenize(tokens).dtype == torch.float32
    assert (tokens != exact).float().mean() < 0.2
    difference = (half.detokenize(exact) - tokenizer.detokenize(exact)).abs()
    assert difference.mean() < 1 / 255


def test_the_callers_autocast_does_not_reach_the_tokenizer(tokenizer):
    images = torch.rand(1, 3, 32, 32)
    expected = tokenizer.reconstruct(images)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(tokenizer.reconstruct(images), expected)


def test_is_frozen_and_stays_in_eval_mode():
    tokenizer = Tokenizer(FastVQGAN(width=8, num_tokens=8))
    tokenizer.train()
    assert not tokenizer.training and not tokenizer.network.training
    assert not any(p.requires_grad for p in tokenizer.parameters())
    images = torch.rand(1, 3, 16, 16, requires_grad=True)
    assert not tokenizer.reconstruct(images).requires_grad


@pytest.mark.parametrize(
    'options, message',
    [({'precision': 'fp8'}, 'expected precision to be one of'), ({'micro_batch': 0}, 'positive')],
)
def test_bad_options(options, message):
    with pytest.raises(ArgumentError, match=message):
        Tokenizer(FastVQGAN(width=8, num_tokens=8), **options)
