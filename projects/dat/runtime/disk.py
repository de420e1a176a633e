"""A run that cannot write says so in a sentence and names what it has saved."""

import errno
import os.path as osp
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from .errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT)
CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)


@contextmanager
def writing_to(work_dir: str, resumable: bool = False) -> Iterator[None]:
    """Around a run: make a full disk, or a folder that nothing can be written to, a UserError.

    Args:
        work_dir (str): The run's folder.
        resumable (bool): Whether the run can go on from a checkpoint in it, which is then named.
            Defaults to False.
    """
    try:
        yield
    except OSError as error:
        place = error.filename or work_dir
        inside = osp.abspath(place).startswith(osp.abspath(work_dir))
        if error.errno not in FULL and not (error.errno in CLOSED and inside):
            raise
        cure = 'free some space' if error.errno in FULL else 'give another folder with --work-dir'
        cure += _how_to_go_on(Path(work_dir)) if resumable else ''
        raise UserError(f'cannot write to {place} ({error.strerror}): {cure}') from error


def _how_to_go_on(work_dir: Path) -> str:
    """Names the newest whole checkpoint, and newer ones that are not whole."""
    broken = []
    for file in sorted(work_dir.glob('*.pth'), key=lambda f: f.stat().st_mtime_ns, reverse=True):
        try:
            torch.load(file, map_location='cpu', weights_only=True)
        except Exception:  # cut off wherever the disk was full
            broken.append(file.name)
            continue
        verb = 'is' if len(broken) == 1 else 'are'
        removed = f', delete {" and ".join(broken)}, which {verb} incomplete,' if broken else ''
        return f'{removed} and go on from the last good checkpoint with --resume {file}'
    return ' and start anew: no checkpoint has been saved yet'
