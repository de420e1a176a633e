"""Tokenizers by name, the published layout among them even where its file is not at hand."""

from pathlib import Path

import torch
from torch import nn

from projects.dat.tokenizer import VQGAN, Tokenizer, load_tokenizer
from projects.dat.tokenizer.published import PUBLISHED, cache_folder

PUBLISHED_LAYOUT = 'published'
_PRESET = 'openimages_f8_16384'


def load(name: str, precision: str, seed: int) -> Tokenizer:
    """A tokenizer as training uses it, on the CPU.

    Args:
        name: What ``load_tokenizer`` takes, or 'published': DAT's f8 VQGAN with 16,384 tokens, with
            random weights where its file is not in the cache.
        precision: 'fp32', 'bf16' or 'fp16', or two of them as 'ENCODE/DECODE'; with '+compile'
            behind it, encode and decode go through ``torch.compile``.
        seed: Of random weights.

    Raises:
        TokenizerError: The name or the file is not understood.
    """
    names, _, option = precision.partition('+')
    encode, _, decode = names.partition('/')
    options = dict(
        precision=dict(encode=encode, decode=decode or encode), compile=option == 'compile'
    )
    if is_random(name):
        return Tokenizer(_random_published(seed), **options)
    return load_tokenizer(_resolve(name), **options)


def load_network(name: str, seed: int) -> nn.Module:
    """The network alone, in fp32 and contiguous; arguments and errors as in :func:`load`."""
    network = _random_published(seed) if is_random(name) else load_tokenizer(_resolve(name)).network
    return network.to(memory_format=torch.contiguous_format).eval().requires_grad_(False)


def is_random(name: str) -> bool:
    """Whether the weights are random."""
    return name == PUBLISHED_LAYOUT and not (cache_folder() / PUBLISHED[_PRESET].file).is_file()


def short_names(names: list[str]) -> list[str]:
    """Names as they are, of files their stems, unless these do not tell them apart."""
    stems = [Path(name).stem if Path(name).suffix else name for name in names]
    return stems if len(set(stems)) == len(set(names)) else names


def _resolve(name: str) -> str:
    return _PRESET if name == PUBLISHED_LAYOUT else name


def _random_published(seed: int) -> VQGAN:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = VQGAN()
        # About as wide as what a fresh encoder puts out: the search meets many tokens.
        nn.init.normal_(network.quantize.embedding.weight, std=0.5)
    return network
