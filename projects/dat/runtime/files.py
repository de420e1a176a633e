"""Files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import UserError


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turn a failure to write ``path`` into one sentence.

    Raises:
        UserError: The disk is full, the folder is read-only, or the like.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f'{path} cannot be written ({error.strerror or error}): make room or give the right to '
            'write there, and start the same command again'
        ) from None


@contextmanager
def replacing(path: str | Path, scratch: str | Path | None = None) -> Iterator[Path]:
    """A name to write a file under, which becomes ``path`` when the block ends without an error.

    Whoever reads ``path`` meanwhile, or after the process was killed, finds the old file. So does
    who reads it after a power cut: the content is on the disk (fsync) before the name is its own,
    which takes about a millisecond.

    Args:
        path: The file; its folder is made. The other name has the same ending.
        scratch: Folder for the other name, on the same disk, where a killed process shall leave no
            unfinished file beside ``path``. Defaults to the folder of ``path``.

    Raises:
        UserError: The disk is full, the folder is read-only, or the like.
    """
    path = Path(path)
    temporary = Path(scratch or path.parent, f'.{os.getpid()}.{path.name}')
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                yield temporary
            except Exception:
                # PyTorch has other errors for a full disk than OSError.
                with open(temporary, 'ab') as file:
                    file.write(bytes(1 << 16))
                raise
            with open(temporary, 'rb') as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()
