"""Visual tokens: VQGAN tokenizers in pure torch."""

from .checkpoint import read_state_dict, write_state_dict
from .codebook import nearest_codes
from .discriminator import PatchDiscriminator, adaptive_weight, hinge_loss
from .fast_vqgan import FastVQGAN
from .fidelity import precision_changes
from .layout import TokenizerError, build_network
from .loading import load_tokenizer
from .lpips import LPIPS
from .lpips_weights import load_lpips
from .presets import DEFAULT_TOKENIZER
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
    'precision_changes',
    'read_state_dict',
    'write_state_dict',
]
