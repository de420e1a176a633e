"""Visual tokens: VQGAN tokenizers in pure torch."""

from .checkpoint import TokenizerError, read_state_dict, write_state_dict
from .codebook import nearest_codes
from .discriminator import PatchDiscriminator, adaptive_weight, hinge_loss
from .fast_vqgan import FastVQGAN
from .loading import DEFAULT_TOKENIZER, build_network, load_tokenizer
from .lpips import LPIPS, load_lpips
from .quantizer import EMAQuantizer
from .tokenizer import Tokenizer
from .vqgan import VQGAN

__all__ = [
    'DEFAULT_TOKENIZER',
    'LPIPS',
    'VQGAN',
    'EMAQuantizer',
    'FastVQGAN',
    'PatchDiscriminator',
    'Tokenizer',
    'TokenizerError',
    'adaptive_weight',
    'build_network',
    'hinge_loss',
    'load_lpips',
    'load_tokenizer',
    'nearest_codes',
    'read_state_dict',
    'write_state_dict',
]
