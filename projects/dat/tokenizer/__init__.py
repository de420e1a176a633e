"""Visual words: VQGAN tokenizers in pure torch."""

from .checkpoint import read_state_dict, write_state_dict
from .codebook import nearest_codes
from .fast_vqgan import FastVQGAN
from .layout import TokenizerError, build_network
from .loading import load_tokenizer
from .presets import DEFAULT_TOKENIZER
from .quantizer import EMAQuantizer
from .tokenizer import Tokenizer
from .vqgan import VQGAN

__all__ = [
    'DEFAULT_TOKENIZER',
    'VQGAN',
    'EMAQuantizer',
    'FastVQGAN',
    'Tokenizer',
    'TokenizerError',
    'build_network',
    'load_tokenizer',
    'nearest_codes',
    'read_state_dict',
    'write_state_dict',
]
