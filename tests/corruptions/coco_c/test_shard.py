"""What a rank writes, and how ranks keep out of each other's way."""

import pytest

from projects.dat.corruptions.coco_c.shard import Shard, rank_and_world
from projects.dat.runtime.errors import UserError
from tests.corruptions.coco_c.tree_case import kill_group, start, wait_until


@pytest.mark.parametrize(
    'env, expected',
    [
        ({}, (0, 1)),
        ({'RANK': '1', 'WORLD_SIZE': '4'}, (1, 4)),
        ({'SLURM_PROCID': '2', 'SLURM_NTASKS': '3'}, (2, 3)),
        ({'SLURM_PROCID': '2', 'SLURM_NTASKS': '3', 'SLURM_JOB_ID': '9', 'SLURM_STEP_ID': '0'},
         (2, 3)),
        # A batch script that calls python without srun is one process.
        ({'SLURM_PROCID': '0', 'SLURM_NTASKS': '3', 'SLURM_JOB_ID': '9'}, (0, 1)),
        # torchrun inside of a slurm job.
        ({'RANK': '1', 'WORLD_SIZE': '4', 'SLURM_PROCID': '0', 'SLURM_NTASKS': '1'}, (1, 4)),
        ({'WORLD_SIZE': '4'}, (0, 1)),
    ],
)
def test_rank_and_world(env, expected):
    assert rank_and_world(env) == expected


@pytest.mark.parametrize('rank, world', [('4', '4'), ('-1', '4'), ('0', '0'), ('a', '2')])
def test_wrong_rank(rank, world):
    with pytest.raises(UserError, match=f'RANK={rank} and WORLD_SIZE={world}'):
        rank_and_world({'RANK': rank, 'WORLD_SIZE': world})


def _hold(root, rank, world):
    with Shard(root, rank, world):
        (root / f'started-{rank}-of-{world}').touch()
        wait_until((root / 'never').exists)


@pytest.fixture
def other(tmp_path):
    """Rank 1 of 2 in another process, until it is killed."""
    process = start(_hold, tmp_path, 1, 2)
    wait_until((tmp_path / 'started-1-of-2').exists)
    yield process
    if process.is_alive():
        kill_group(process)


def test_a_rank_runs_once(tmp_path, other):
    with (
        pytest.raises(UserError, match='another process builds rank 1 of 2'),
        Shard(tmp_path, 1, 2),
    ):
        pass
    with Shard(tmp_path, 0, 2) as shard:
        assert shard.scratch.is_dir()
    kill_group(other)
    with Shard(tmp_path, 1, 2) as shard:
        assert shard.scratch.is_dir()


def test_leftovers_of_dead_ranks_only(tmp_path, other):
    """The living rank 1 of 2 keeps its unfinished file, the dead rank 0 of 7 does not."""
    line = b'0' * 64 + b'  fog/1/a.png\n'
    for name in ('1-of-2', '0-of-7'):
        (tmp_path / f'digests/{name}.sha256').write_bytes(line + line[:70])
        (tmp_path / f'.building/{name}').mkdir(exist_ok=True)
        (tmp_path / f'.building/{name}/123').write_bytes(b'half')
    with Shard(tmp_path):
        assert (tmp_path / '.building/1-of-2/123').exists()
        assert not (tmp_path / '.building/0-of-7').exists()
        assert (tmp_path / 'digests/1-of-2.sha256').read_bytes() == line + line[:70]
        assert (tmp_path / 'digests/0-of-7.sha256').read_bytes() == line
    kill_group(other)
    with Shard(tmp_path, 1, 2) as shard:
        assert not list(shard.scratch.iterdir())
        shard.record({'fog/1/b.png': '1' * 64})
    added = b'1' * 64 + b'  fog/1/b.png\n'
    assert (tmp_path / 'digests/1-of-2.sha256').read_bytes() == line + added
    assert not (tmp_path / '.building').exists()


def test_a_tree_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').write_bytes(b'')
    with pytest.raises(UserError, match='file cannot be written'), Shard(tmp_path / 'file'):
        pass
