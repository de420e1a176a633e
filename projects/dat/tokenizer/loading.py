"""One entry for every tokenizer: by name or by file."""

import os
from collections.abc import Mapping

from .checkpoint import read_state_dict
from .download import fetch
from .layout import TokenizerError, build_network
from .presets import BUNDLED, DEFAULT_TOKENIZER, PUBLISHED
from .tokenizer import Tokenizer


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
            'a .ckpt, .pth or '
            f'.safetensors file, found {name!r}; check the spelling'
        )
    network = build_network(read_state_dict(path), source=str(path))
    return Tokenizer(network, precision=precision, micro_batch=micro_batch, compile=compile)
