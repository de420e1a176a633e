"""One entry for every tokenizer: by name or by file.

The network follows from the keys and shapes of its state dict alone.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from .checkpoint import TokenizerError, read_state_dict
from .fast_vqgan import FastVQGAN
from .published import PUBLISHED, fetch
from .tokenizer import Tokenizer
from .vqgan import VQGAN

DEFAULT_TOKENIZER = 'fast_f8_8192'
BUNDLED = {
    name: Path(__file__).parent / 'weights' / f'{name}.safetensors'
    for name in (DEFAULT_TOKENIZER, 'small_f8_8192')
}


def load_tokenizer(
    name_or_path: str | os.PathLike = DEFAULT_TOKENIZER,
    precision: str | Mapping[str, str] = 'fp32',
    micro_batch: int | None = None,
    offline: bool | None = None,
    compile: bool = False,
) -> Tokenizer:
    """Load a tokenizer, on the CPU.

    The architecture follows from the file's keys and shapes, so that no config is needed.

    Args:
        name_or_path: A bundled name, the name of a published preset (downloaded once into the
            user's cache folder), or a .ckpt, .pth or .safetensors file.
        precision: See :class:`Tokenizer`. Defaults to 'fp32'.
        micro_batch: See :class:`Tokenizer`. Defaults to None.
        offline: Never download. Defaults to None: whether the environment variable ``DAT_OFFLINE``
            is set to 1.
        compile: See :class:`Tokenizer`. Defaults to False.

    Raises:
        TokenizerError: one sentence, if the name is unknown or the file cannot be had, read or
            understood.
    """
    name = os.fspath(name_or_path)
    if name in BUNDLED:
        path = BUNDLED[name]
    elif name in PUBLISHED:
        offline = os.environ.get('DAT_OFFLINE') == '1' if offline is None else offline
        path = fetch(name, PUBLISHED[name], offline)
    elif os.path.splitext(name)[1]:
        path = name
    else:
        raise TokenizerError(
            f'expected the name of a tokenizer ({", ".join([*BUNDLED, *PUBLISHED])}) or a path to '
            f'a .ckpt, .pth or .safetensors file, found {name!r}; check the spelling'
        )
    network = build_network(read_state_dict(path), source=str(path))
    return Tokenizer(network, precision=precision, micro_batch=micro_batch, compile=compile)


def build_network(state_dict: Mapping[str, Tensor], source: str) -> nn.Module:
    """Network with the weights of ``state_dict``, a published VQGAN or a :class:`FastVQGAN`.

    Args:
        state_dict: Tensors by name, as in the published files.
        source: What the error messages call it, usually the file's path.

    Raises:
        TokenizerError: if the keys or shapes are of no known layout.
    """
    layouts = {'encoder.conv_in.weight': _vqgan, 'encoder.stem.weight': _fast_vqgan}
    make = next((make for key, make in layouts.items() if key in state_dict), None)
    if make is None or 'quantize.embedding.weight' not in state_dict:
        some = ', '.join(sorted(state_dict)[:3]) or 'no tensor'
        raise TokenizerError(
            f'{source}: expected a VQGAN with keys such as encoder.conv_in.weight and '
            f'quantize.embedding.weight, found {len(state_dict)} keys such as {some}; use a '
            'checkpoint of taming-transformers, latent-diffusion or tools/train_vqgan.py'
        )
    try:
        network = make(state_dict)
    except (KeyError, IndexError, ValueError) as error:
        raise TokenizerError(
            f'{source}: expected the complete state dict of a VQGAN, found no consistent layout '
            f'({error}); the file is incomplete or of another architecture'
        ) from error
    _load(network, state_dict, source)
    return network


def _load(network: nn.Module, state_dict: Mapping[str, Tensor], source: str) -> None:
    expected = network.state_dict()
    missing = [key for key in expected if key not in state_dict]
    unexpected = [key for key in state_dict if key not in expected]
    for problem, keys in (('without', missing), ('with the unknown', unexpected)):
        if keys:
            raise TokenizerError(
                f'{source}: expected the {len(expected)} tensors of a {type(network).__name__}, '
                f'found a file {problem} '
                f'{keys[0]}{f" and {len(keys) - 1} more" if len(keys) > 1 else ""}; it is '
                'incomplete or of another architecture'
            )
    for key, tensor in expected.items():
        if state_dict[key].shape != tensor.shape:
            raise TokenizerError(
                f'{source}: expected {key} of shape {tuple(tensor.shape)}, found '
                f'{tuple(state_dict[key].shape)}; the file mixes two architectures'
            )
    network.load_state_dict({key: tensor.float() for key, tensor in state_dict.items()})


def _count(state_dict: Mapping[str, Tensor], pattern: str) -> int:
    """One more than the largest number in the group of ``pattern`` over all keys, or 0."""
    found = (re.match(pattern, key) for key in state_dict)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def _vqgan(sd: Mapping[str, Tensor]) -> VQGAN:
    levels = _count(sd, r'encoder\.down\.(\d+)\.')
    ch = len(sd['encoder.conv_in.weight'])
    widths = [len(sd[f'encoder.down.{i}.block.0.conv1.weight']) for i in range(levels)]
    num_tokens, embed_dim = sd['quantize.embedding.weight'].shape
    return VQGAN(
        ch=ch,
        ch_mult=tuple(width // ch for width in widths),
        num_res_blocks=_count(sd, r'encoder\.down\.0\.block\.(\d+)\.'),
        attention=tuple(f'encoder.down.{i}.attn.0.q.weight' in sd for i in range(levels)),
        z_channels=len(sd['encoder.conv_out.weight']),
        num_tokens=num_tokens,
        embed_dim=embed_dim,
    )


def _fast_vqgan(sd: Mapping[str, Tensor]) -> FastVQGAN:
    num_tokens, embed_dim = sd['quantize.embedding.weight'].shape
    return FastVQGAN(
        width=len(sd['encoder.stem.weight']),
        encoder_depth=tuple(
            _count(sd, rf'encoder\.{stage}\.(\d+)\.') for stage in ('quarter', 'eighth')
        ),
        decoder_depth=tuple(
            _count(sd, rf'decoder\.{stage}\.(\d+)\.') for stage in ('eighth', 'quarter')
        ),
        num_tokens=num_tokens,
        embed_dim=embed_dim,
    )
