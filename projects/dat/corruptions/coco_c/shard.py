"""One rank's share of a build, and what it alone writes."""

import fcntl
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from projects.dat.runtime.errors import UserError
from projects.dat.runtime.files import writing

from .tree import DIGESTS, SCRATCH, digest_line


def rank_and_world(env: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Rank and number of ranks as torchrun or slurm's srun set them; (0, 1) without either.

    Raises:
        UserError: They are no such numbers.
    """
    names = ('RANK', 'WORLD_SIZE')
    if not env.keys() >= set(names):
        names = ('SLURM_PROCID', 'SLURM_NTASKS')
        # slurm sets them for a batch script too, although only one process runs.
        in_batch_script = 'SLURM_JOB_ID' in env and 'SLURM_STEP_ID' not in env
        if in_batch_script or not env.keys() >= set(names):
            return 0, 1
    rank, world = (env[name] for name in names)
    if re.fullmatch('[0-9]+ [0-9]+', f'{rank} {world}') and int(rank) < int(world):
        return int(rank), int(world)
    raise UserError(
        f'the environment has {names[0]}={rank} and {names[1]}={world}, expected 0 <= rank < '
        'ranks: start with torchrun or srun, or unset them'
    )


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
        self.scratch = self.root / SCRATCH / self._digests.stem

    def __enter__(self) -> 'Shard':
        with writing(self.root):
            self._digests.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._digests, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        if _try_lock(self._file) is False:
            os.close(self._file)
            raise UserError(
                f'another process builds rank {self.rank} of {self.world} of {self.root}: wait '
                'for it, or start each rank once'
            )
        with writing(self.root):
            self._clean_up(self._file, self._digests)
            for file in self._digests.parent.glob('*.sha256'):
                # Other ranks of this world may be about to start and clean up after themselves.
                if not file.stem.endswith(f'-of-{self.world}'):
                    with open(file, 'rb+') as other:
                        if _try_lock(other.fileno()):
                            self._clean_up(other.fileno(), file)
            self.scratch.mkdir(parents=True)
        return self

    def __exit__(self, *_) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)
        with suppress(OSError):  # not empty while other ranks build
            self.scratch.parent.rmdir()
        os.close(self._file)

    def record(self, digests: Mapping[str, str]) -> None:
        """Append digests of finished files, by their paths relative to the root."""
        with writing(self._digests):
            os.write(self._file, b''.join(digest_line(*item) for item in digests.items()))

    def _clean_up(self, file: int, digests: Path) -> None:
        """Take away what a killed process left: half a line and unfinished files."""
        with open(file, 'rb', closefd=False) as lines:
            os.ftruncate(file, lines.read().rfind(b'\n') + 1)
        shutil.rmtree(self.root / SCRATCH / digests.stem, ignore_errors=True)


def _try_lock(file: int) -> bool | None:
    """True: locked; False: another process holds it; None: the file system has no locks."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True
