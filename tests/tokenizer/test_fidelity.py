import pytest
import torch

from projects.dat.tokenizer import FastVQGAN, Tokenizer
from projects.dat.tokenizer.fidelity import precision_changes


@pytest.fixture(scope='module')
def tokenizer():
    torch.manual_seed(0)
    network = FastVQGAN(width=16, num_tokens=256)
    network.quantize.embedding.weight.data.normal_(std=0.3)
    return Tokenizer(network, micro_batch=2)


@pytest.fixture(scope='module')
def images():
    return torch.rand(3, 3, 60, 72, generator=torch.Generator().manual_seed(0))


def test_fp32_changes_nothing(tokenizer, images):
    changes = precision_changes(tokenizer, images, 'fp32')
    assert set(changes.values()) == {0.0}


def test_parts_are_apart(tokenizer, images):
    both = precision_changes(tokenizer, images, 'bf16')
    assert all(isinstance(value, float) and value > 0 for value in both.values())
    encode = precision_changes(tokenizer, images, dict(encode='bf16', decode='fp32'))
    decode = precision_changes(tokenizer, images, dict(encode='fp32', decode='bf16'))
    assert encode == {k: v if k.startswith('encode') else 0 for k, v in both.items()}
    assert decode == {k: v if k.startswith('decode') else 0 for k, v in both.items()}


def test_figures_are_what_they_are_called(tokenizer, images):
    lower = Tokenizer(tokenizer.network, 'bf16')
    tokens = tokenizer.tokenize(images)
    exact, changed = (t.detokenize(tokens, (60, 72)) for t in (tokenizer, lower))
    difference = 255 * (exact - changed).abs()
    expected = {
        'encode_changed_tokens': (lower.tokenize(images) != tokens).float().mean(),
        'decode_mean_change': difference.mean(),
        'decode_max_change': difference.max(),
        'decode_changed_tokens': (tokenizer.tokenize(exact) != tokenizer.tokenize(changed))
        .float()
        .mean(),
    }
    assert precision_changes(tokenizer, images, 'bf16') == pytest.approx(
        {name: float(value) for name, value in expected.items()}
    )
