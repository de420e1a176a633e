import json
from pathlib import Path

import pytest
import torch

from projects.dat.benchmark import tokenizers
from projects.dat.runtime.errors import UserError
from projects.dat.tokenizer import FastVQGAN, write_state_dict

FIXTURES = Path(__file__).parents[1] / 'fixtures'


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'dat-mmdet'


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / 'tiny.safetensors'
    write_state_dict(FastVQGAN(width=8, num_tokens=64).state_dict(), path, {})
    return str(path)


def test_the_published_layout_without_its_file():
    network = tokenizers.load_network('published', seed=0)
    layouts = json.loads((FIXTURES / 'vqgan_checkpoint_layouts.json').read_text())
    published = layouts['openimages_f8_16384']['state_dict']
    assert {key: list(v.shape) for key, v in network.state_dict().items()} == published
    assert tokenizers.is_random('published')
    again = tokenizers.load_network('published', seed=0)
    assert torch.equal(network.decoder.conv_out.weight, again.decoder.conv_out.weight)


def test_the_published_file_where_it_is_at_hand(cache, tiny):
    cache.mkdir(parents=True)
    state_dict = FastVQGAN(width=8, num_tokens=32).state_dict()
    torch.save(state_dict, cache / 'vqgan_openimages_f8_16384.ckpt')
    assert not tokenizers.is_random('published')
    assert len(tokenizers.load('published', 'fp32', seed=0).codebook) == 32


def test_a_file(tiny):
    assert not tokenizers.is_random(tiny)
    tokenizer = tokenizers.load(tiny, 'bf16', seed=0)
    assert len(tokenizer.codebook) == 64
    assert tokenizer.precision == dict(encode='bf16', decode='bf16')
    tokenizer = tokenizers.load(tiny, 'fp32/bf16', seed=0)
    assert tokenizer.precision == dict(encode='fp32', decode='bf16')
    network = tokenizers.load_network(tiny, seed=0)
    assert all(p.is_contiguous() and not p.requires_grad for p in network.parameters())
    assert tokenizers.short_names([tiny, 'fast_f8_8192']) == ['tiny', 'fast_f8_8192']
    alike = [tiny, 'other/tiny.safetensors']
    assert tokenizers.short_names(alike) == alike


def test_the_random_weights_leave_the_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    tokenizers.load_network('published', seed=0)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize('name', ['vqgan', 'missing.safetensors'])
def test_a_name_that_is_none(name):
    with pytest.raises(UserError, match='expected'):
        tokenizers.load(name, 'fp32', seed=0)
