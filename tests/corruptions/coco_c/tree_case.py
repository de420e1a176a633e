"""A small COCO-format set to build trees from, and processes that can be killed."""

import atexit
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np

from projects.dat.corruptions.coco_c.builder import build

CELLS = (('brightness', 1), ('gaussian_noise', 3), ('contrast', 5))


def write_set(root: Path, count: int = 6) -> tuple[Path, Path]:
    """Image folder, some of it in a subfolder, and annotation file."""
    rng = np.random.default_rng(0)
    (root / 'images/sub').mkdir(parents=True)
    entries = []
    for i in range(count):
        name = f'sub/{i}.jpg' if i % 2 else f'{i}.png'
        cv2.imwrite(str(root / 'images' / name), rng.integers(0, 256, (40, 48, 3), np.uint8))
        entries.append({'id': 100 + i, 'file_name': name, 'width': 48, 'height': 40})
    content = {'info': {'year': 2024}, 'images': entries, 'annotations': [{'id': 1, 'iscrowd': 0}]}
    return root / 'images', write_annotations(root / 'set.json', content)


def write_annotations(file: Path, content: object) -> Path:
    file.write_text(json.dumps(content))
    return file


def blocked_copy(source: tuple[Path, Path], root: Path) -> tuple[Path, Path]:
    """The set again, but reading image 4 takes until the test writes or :func:`unblock`."""
    shutil.copytree(source[0], root / 'images')
    shutil.copy(source[1], root / 'set.json')
    (root / 'images/4.png').unlink()
    os.mkfifo(root / 'images/4.png')
    return root / 'images', root / 'set.json'


def unblock(source: tuple[Path, Path], blocked: tuple[Path, Path]) -> None:
    (blocked[0] / '4.png').unlink()
    shutil.copy(source[0] / '4.png', blocked[0] / '4.png')


def built(source: tuple[Path, Path], out: Path, cells=CELLS, **options) -> Path:
    """A tree that nothing disturbed."""
    assert not build(*source, out, cells, **options).failures
    return out


def contents(out: Path) -> dict[str, bytes]:
    """All files of a tree but the digests, whose order is that of the work."""
    return {
        str(file.relative_to(out)): file.read_bytes()
        for file in out.rglob('*')
        if file.is_file() and file.parent != out / 'digests'
    }


def recorded(out: Path) -> list[bytes]:
    """Lines of all digest files."""
    return sorted(b''.join(f.read_bytes() for f in out.glob('digests/*')).splitlines())


def identities(out: Path) -> dict[Path, tuple[int, int]]:
    """What changes when a file is made again."""
    files = [*out.glob('[a-z]*/*/**/*.png'), *out.glob('[a-z]*/*/**/*.jpg')]
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


def sha256sum(out: Path) -> subprocess.CompletedProcess:
    files = sorted(str(file.relative_to(out)) for file in out.glob('digests/*'))
    return subprocess.run(
        ['sha256sum', '-c', '--strict', *files], cwd=out, capture_output=True, text=True
    )


def start(target, *args, **kwargs):
    """Run a function in a process group of its own."""
    def body():
        os.setsid()
        target(*args, **kwargs)

    process = multiprocessing.get_context('fork').Process(target=body)
    process.start()
    wait_until(lambda: os.getpgid(process.pid) == process.pid or not process.is_alive())
    # multiprocessing would wait for ever for what a failed test leaves blocked.
    atexit.register(lambda: process.is_alive() and kill_group(process))
    return process


def kill_group(process) -> None:
    """kill -9 of a process and its workers."""
    os.killpg(process.pid, signal.SIGKILL)
    process.join()


def wait_until(condition, seconds: float = 60):
    """Poll until ``condition()`` is true."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, 'nothing happened'
        time.sleep(0.01)
    return result
