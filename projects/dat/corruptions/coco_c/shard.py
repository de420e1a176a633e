"""One rank's share of a build, and what it alone writes."""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from projects.dat.runtime.errors import UserError

from .tree import DIGESTS, SCRATCH, digest_line


def rank_and_world(env: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Rank and number of ranks as torchrun or slurm's srun set them; (0, 1) without either.

    Raises:
        UserError: They are no such numbers.
    """
    if 'RANK' in env and 'WORLD_SIZE' in env:
        names = ('RANK', 'WORLD_SIZE')
    elif 'SLURM_PROCID' in env and 'SLURM_NTASKS' in env and not _is_batch_script(env):
        names = ('SLURM_PROCID', 'SLURM_NTASKS')
    else:
        return 0, 1
    texts = [env[name] for name in names]
    if all(re.fullmatch('[0-9]+', text) for text in texts):
        rank, world = map(int, texts)
        if rank < world:
            return rank, world
    raise UserError(
        f'the environment has {names[0]}={texts[0]} and {names[1]}={texts[1]}, expected 0 <= rank '
        f'< ranks: start with torchrun or srun, or unset them'
    )


def _is_batch_script(env: Mapping[str, str]) -> bool:
    # There slurm sets SLURM_PROCID=0 and the number of tasks, although only one process runs.
    return 'SLURM_JOB_ID' in env and 'SLURM_STEP_ID' not in env


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turn a failure to write into one sentence."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f'{path} cannot be written ({error.strerror}): mend that and start the same command '
            f'again, which goes on from here'
        ) from None


def write_atomically(path: str | Path, data: bytes, scratch: str | Path) -> None:
    """Write a file that is there whole or not at all, also when the process is killed.

    Args:
        path: The file; its folder is made.
        data: Its bytes.
        scratch: A folder in the same file system.

    Raises:
        UserError: It cannot be written.
    """
    new = os.path.join(scratch, str(os.getpid()))
    with writing(path):
        with open(new, 'wb') as file:
            file.write(data)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.replace(new, path)


class Shard:
    """The files of one rank in a tree: its digests and its scratch folder.

    A lock on the digest file tells living ranks from dead ones. It is POSIX's, which forked workers
    do not inherit and which the process loses when it closes the file a second time: nothing else
    here may open the own digest file meanwhile.

    Args:
        root: Folder of the tree.
        rank: 0..world - 1.
        world: Number of ranks.

    Raises:
        UserError: On entering, when this rank already runs or the tree cannot be written.
    """

    def __init__(self, root: str | Path, rank: int = 0, world: int = 1) -> None:
        self.root = Path(root)
        self.rank, self.world = rank, world
        self._digests = self.root / DIGESTS / f'{rank}-of-{world}.sha256'
        self.scratch = self._scratch_of(self._digests)

    def __enter__(self) -> 'Shard':
        with writing(self.root):
            self._digests.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._digests, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        if _try_lock(self._file) is False:
            os.close(self._file)
            raise UserError(
                f'another process builds rank {self.rank} of {self.world} of {self.root}: wait '
                f'for it, or start each rank once'
            )
        with writing(self.root):
            self._clean_up(self._file, self._digests)
            self.scratch.mkdir(parents=True)
            self._clean_up_after_other_worlds()
        return self

    def __exit__(self, *_) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)
        with suppress(OSError):  # not empty while other ranks build
            self.scratch.parent.rmdir()
        os.close(self._file)

    def record(self, digests: Mapping[str, str]) -> None:
        """Append digests of finished files, by their paths relative to the root."""
        with writing(self._digests):
            lines = b''.join(digest_line(path, digest) for path, digest in digests.items())
            os.write(self._file, lines)

    def wait_for_others(self) -> None:
        """Wait until no other rank of this build runs; only after leaving, or all would wait."""
        for file in self._digests.parent.glob(f'*-of-{self.world}.sha256'):
            with open(file, 'rb+') as other, suppress(OSError):
                fcntl.lockf(other, fcntl.LOCK_EX)

    def _scratch_of(self, digests: Path) -> Path:
        return self.root / SCRATCH / digests.stem

    def _clean_up_after_other_worlds(self) -> None:
        # The other ranks of this world may be about to start and clean up after themselves.
        for file in self._digests.parent.glob('*.sha256'):
            if not file.stem.endswith(f'-of-{self.world}'):
                with open(file, 'rb+') as other:
                    if _try_lock(other.fileno()):
                        self._clean_up(other.fileno(), file)

    def _clean_up(self, file: int, digests: Path) -> None:
        """Take away what a killed process left: half a line and unfinished files."""
        with open(file, 'rb', closefd=False) as lines:
            content = lines.read()
        os.ftruncate(file, content.rfind(b'\n') + 1)
        shutil.rmtree(self._scratch_of(digests), ignore_errors=True)


def _try_lock(file: int) -> bool | None:
    """True: locked; False: another process holds it; None: the file system has no locks."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True
