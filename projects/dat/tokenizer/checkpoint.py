"""Reading and writing tokenizer files."""

import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from projects.dat.runtime.errors import UserError
from projects.dat.runtime.files import replacing

SUFFIXES = ('.ckpt', '.pth', '.safetensors')
TRAINED = 'network.'  # prefix of the tokenizer among what is trained


class TokenizerError(UserError, ValueError):
    """A tokenizer that cannot be had: one sentence with expectation, finding and cure."""


def read_state_dict(path: str | os.PathLike) -> dict[str, Tensor]:
    """State dict of a tokenizer file; what belongs to its training (``loss.*``, Lightning's extras)
    is dropped. Of a checkpoint of tools/train_vqgan.py it is the network's, averaged by EMA.

    Nothing in the file is executed: pickles are read with ``weights_only``, whose unpickler makes
    tensors and plain containers; where Lightning's callbacks or optimizers stand in the pickle,
    their classes become empty shells.

    Raises:
        TokenizerError: if the file is missing, of another kind, truncated, or holds no tensors.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise TokenizerError(
            f'{path}: expected a file ending in {", ".join(SUFFIXES)}; convert it or choose another'
        )
    if not path.is_file():
        raise TokenizerError(f'{path}: expected a tokenizer file, found none; check the path')
    content = read_safetensors(path) if path.suffix == '.safetensors' else read_pickle(path)
    state_dict = content.get('state_dict', content) if isinstance(content, Mapping) else {}
    if not isinstance(state_dict, Mapping):
        state_dict = {}
    kept = {
        key: value
        for key, value in state_dict.items()
        if isinstance(key, str)
        and isinstance(value, Tensor)
        and not key.startswith(('loss.', 'model_ema.'))
    }
    trained = {k.removeprefix(TRAINED): v for k, v in kept.items() if k.startswith(TRAINED)}
    kept = trained or kept
    if not kept:
        raise TokenizerError(
            f'{path}: expected a state dict of tensors, found none; the file is no model checkpoint'
        )
    return kept


def write_state_dict(
    state_dict: Mapping[str, Tensor], path: str | os.PathLike, metadata: Mapping[str, str]
) -> None:
    """Write a .safetensors file atomically, in fp16: half the size, and far finer than a token's
    distance to the next.

    Args:
        state_dict: Tensors by name.
        path: The file; its folder is made.
        metadata: Strings that say where the weights come from.
    """
    tensors = {key: value.detach().cpu().half().contiguous() for key, value in state_dict.items()}
    with replacing(path) as temporary:
        temporary.write_bytes(safetensors.torch.save(tensors, dict(metadata)))


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Content of a .safetensors file; TokenizerError if it cannot be read."""
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise _broken(path, 'safetensors file', error) from error


class _Shell(dict):
    """Stands in for a class of Lightning that a checkpoint names beside its weights."""


def read_pickle(path: Path):
    """torch.load with weights_only; Lightning's classes become empty shells.

    TokenizerError if the file cannot be read.
    """
    shells = {}
    while True:
        allowed = [(shell, name) for name, shell in shells.items()]
        try:
            with torch.serialization.safe_globals(allowed):
                return torch.load(path, map_location='cpu', weights_only=True)
        except pickle.UnpicklingError as error:
            # Each attempt names one class; Lightning writes few (its callbacks are keys).
            found = re.search(r'GLOBAL ((?:pytorch_)?lightning\.\S+) was not', str(error))
            if found is None or found[1] in shells:
                raise _broken(path, 'PyTorch checkpoint', error) from error
            shells[found[1]] = type('_Shell', (_Shell,), {})
        except (RuntimeError, EOFError, OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise _broken(path, 'PyTorch checkpoint', error) from error


def _broken(path: Path, kind: str, error: Exception) -> TokenizerError:
    reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    size = path.stat().st_size
    return TokenizerError(
        f'{path}: expected a complete {kind}, found {size:,} bytes that cannot be read ({reason}); '
        'the file is truncated or of another kind, get it again'
    )
