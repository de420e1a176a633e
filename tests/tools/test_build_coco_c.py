"""tools/build_coco_c.py as a user runs it."""

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from projects.dat.corruptions.coco_c import builder
from projects.dat.runtime import cli
from tests.corruptions.coco_c.tree_case import (
    blocked_copy,
    built,
    contents,
    identities,
    recorded,
    sha256sum,
    start,
    unblock,
    wait_until,
    write_set,
)

TOOL = Path(__file__).resolve().parents[2] / 'tools/build_coco_c.py'
NAMES = ('brightness', 'contrast')
CELLS = [(name, severity) for name in NAMES for severity in (1, 5)]


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp('set'))


@pytest.fixture(scope='module')
def whole(source, tmp_path_factory):
    return built(source, tmp_path_factory.mktemp('whole') / 'tree', CELLS)


def _arguments(source, out, *more):
    return [
        '--images', str(source[0]), '--annotations', str(source[1]), '--out', str(out),
        '--corruptions', *NAMES, '--severities', '1', '5', *map(str, more),
    ]


class Run:
    """The tool in a process of its own, without the seconds that a fresh Python would import."""

    def __init__(self, log, *arguments, **env):
        self.log = Path(log)
        self.process = start(self._body, list(map(str, arguments)), env)

    def _body(self, arguments, env):
        # A shell's background jobs ignore it, and so would a suite that runs in one.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        file = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout = open(1, 'w', 1, closefd=False)  # noqa: SIM115
        sys.stderr = open(2, 'w', 1, closefd=False)  # noqa: SIM115
        os.environ.update(env)
        sys.argv = [str(TOOL), *arguments]
        logging.getLogger('projects.dat').handlers.clear()  # of tools that ran in this process
        from tools.build_coco_c import main  # here: it sets the environment

        cli.run(main)

    def finish(self):
        self.process.join()
        text = self.log.read_text()
        assert 'Traceback' not in text
        return self.process.exitcode, text


def test_two_shards_at_once_then_verify(source, whole, tmp_path):
    """As torchrun would start them; verification in a fresh Python."""
    out = tmp_path / 'tree'
    runs = [
        Run(tmp_path / f'log{rank}', *_arguments(source, out), RANK=str(rank), WORLD_SIZE='2')
        for rank in range(2)
    ]
    for rank, run in enumerate(runs):
        status, text = run.finish()
        assert status == 0
        assert f'12 image-cells are in {out} (rank {rank} of 2)' in text
    assert contents(out) == contents(whole)
    assert recorded(out) == recorded(whole)
    assert sha256sum(out).returncode == 0
    run = subprocess.run(
        [sys.executable, '-W', 'ignore', TOOL, '--out', 'tree', '--verify'],
        cwd=tmp_path, capture_output=True, text=True,
    )
    assert run.returncode == 0, run.stderr
    assert 'all is right; 25 files of 4' in run.stdout
    assert '4 of the 75 of the benchmark' in run.stdout


def test_verify_finds_what_is_wrong(source, tmp_path):
    out = built(source, tmp_path / 'tree', CELLS)
    (out / 'contrast/5/0.png').write_bytes(b'')
    (out / 'contrast/5/2.png').unlink()
    status, text = Run(tmp_path / 'log', *_arguments(source, out), '--verify').finish()
    assert status == 1
    assert 'changed: contrast/5/0.png' in text and 'missing: contrast/5/2.png' in text
    assert '2 problems; 25 files' in text


def test_ctrl_c(source, whole, tmp_path, monkeypatch):
    """Of the whole process group while an image is being read; the next start goes on."""
    monkeypatch.setattr(builder, '_check_disk_space', lambda *_: None)  # it reads images as well
    blocked = blocked_copy(source, tmp_path)
    out = tmp_path / 'tree'
    run = Run(tmp_path / 'log', *_arguments(blocked, out, '--workers', 1))
    wait_until(lambda: len(identities(out)) == 16)
    before = identities(out)
    os.killpg(run.process.pid, signal.SIGINT)
    (blocked[0] / '4.png').write_bytes((source[0] / '4.png').read_bytes())
    status, text = run.finish()
    assert status == 130
    assert text.splitlines()[-1] == 'interrupted: start the same command again to go on'
    unblock(source, blocked)
    status, text = Run(tmp_path / 'log', *_arguments(blocked, out)).finish()
    assert status == 0 and '24 image-cells are in' in text
    assert all(identities(out)[file] == before[file] for file in before)
    assert contents(out) == contents(whole)


def test_unreadable_images_are_listed(source, tmp_path):
    images = tmp_path / 'images'
    shutil.copytree(source[0], images)
    (images / '0.png').write_bytes(b'no image')
    (images / 'sub/3.jpg').unlink()
    run = Run(tmp_path / 'log', *_arguments((images, source[1]), tmp_path / 'tree'))
    status, text = run.finish()
    assert status == 1
    *counts, first, second = text.splitlines()[-4:]
    assert counts == [
        f'16 image-cells are in {tmp_path / "tree"}', 'not built, at least in part: 2 images'
    ]
    assert first.startswith(f'  {images}/0.png is truncated or is no image (8 bytes): replace')
    assert second.startswith(f'  the image {images}/sub/3.jpg cannot be read (No such file')


@pytest.fixture
def tool(monkeypatch):
    for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'):
        monkeypatch.setenv(name, '1')  # as its import does, and undone
    from tools import build_coco_c

    return build_coco_c


@pytest.mark.parametrize(
    'env, workers',
    [
        ({}, 12),
        ({'LOCAL_WORLD_SIZE': '5'}, 2),
        ({'LOCAL_WORLD_SIZE': '16'}, 1),
        ({'SLURM_CPUS_PER_TASK': '4'}, 4),
        ({'SLURM_CPUS_PER_TASK': '4', 'LOCAL_WORLD_SIZE': '2'}, 2),
        ({'SLURM_CPUS_PER_TASK': '64'}, 12),
    ],
)
def test_workers_by_default(tool, monkeypatch, env, workers):
    for name in ('LOCAL_WORLD_SIZE', 'SLURM_CPUS_PER_TASK'):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: range(12))
    assert tool._cores() == workers


@pytest.mark.parametrize(
    'names, severities, cells',
    [
        (['benchmark'], [1, 2, 3, 4, 5], 75),
        (['holdout'], [3], 4),
        (['all'], [1, 5], 38),
        (['noise', 'shot_noise', 'fog'], [2, 2], 4),
    ],
)
def test_choice_of_cells(tool, names, severities, cells):
    assert len(tool._cells(names, severities)) == len(set(tool._cells(names, severities))) == cells


@pytest.mark.parametrize(
    'arguments, tokens',
    [
        (['--images', 'none'], 'the image folder none does not exist'),
        (['--annotations', 'none'], 'the annotation file none cannot be read'),
        (['--quality', '80'], '--quality is 1 to 100 and for --format jpeg alone'),
        (['--format', 'jpeg', '--quality', '0'], '--quality is 1 to 100'),
        (['--workers', '0'], '--workers must be at least 1'),
        (['--seed', '-1'], '--seed at least 0'),
        (['--seed', '1'], 'was begun with seed 0, but this run has seed 1'),
        (['--format', 'jpeg'], 'was begun with format png, but this run has format jpeg'),
        (['--channel-order', 'rgb'], 'channel order bgr, but this run has channel order rgb'),
    ],
)
def test_mistakes(source, whole, tmp_path, arguments, tokens):
    before = identities(whole)
    run = Run(tmp_path / 'log', *_arguments(source, whole), *arguments)
    status, text = run.finish()
    assert status == 2
    assert text.startswith('error: ') and tokens in text and len(text.splitlines()) == 1
    assert identities(whole) == before


@pytest.mark.parametrize(
    'folder, message',
    [('none', 'the image folder .*none does not exist'), ('.', r'has no images \(\.jpg, ')],
)
def test_a_folder_that_holds_no_images(tmp_path, folder, message):
    tool = [sys.executable, '-W', 'ignore', TOOL]
    command = [*tool, '--images', tmp_path / folder, '--out', tmp_path / 'tree']
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 2 and re.search(message, done.stderr), done.stderr
