"""Check a built COCO-C tree."""

import hashlib
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from projects.dat.runtime.errors import UserError

from ..names import CORRUPTIONS, SEVERITIES
from . import tree
from .builder import progress_bar
from .cell_worker import Cell
from .source import SourceImage, read_source

_ALL_CELLS = [(name, severity) for name in CORRUPTIONS for severity in SEVERITIES]
_CHUNK = 1 << 20


@dataclass
class VerifyReport:
    """What was found.

    Args:
        cells: The corruptions and severities that were looked at.
        files: Number of files that should be there.
        problems: What is wrong with a file, by its path in the tree.
    """

    cells: Sequence[Cell]
    files: int = 0
    problems: dict[str, str] = field(default_factory=dict)


def verify(
    out: str | Path, cells: Sequence[Cell] | None = None, *, workers: int = 1
) -> VerifyReport:
    """Check that every file is there with the recorded digest, and nothing else.

    Args:
        out: Folder of the tree.
        cells: What it should have. Defaults to all that were begun.
        workers: Number of threads; hashing leaves the interpreter free. Defaults to 1.

    Raises:
        UserError: It is no tree, or one without annotations or images.
    """
    image_format = tree.read_manifest(out)['format']
    images = read_source(Path(out, tree.ANNOTATIONS), image_format).images
    if cells is None:
        cells = [cell for cell in _ALL_CELLS if Path(out, tree.cell_folder(*cell)).is_dir()]
    if not cells:
        raise UserError(f'{out} has no images yet: build it first')
    digests = tree.read_digests(out)
    report = VerifyReport(cells)
    report.problems = {path: 'unexpected' for path in _unexpected(out, images)}
    folders = [tree.cell_folder(*cell) for cell in cells]
    batches = [[f'{folder}/{image.target}' for folder in folders] for image in images]
    batches.append([tree.ANNOTATIONS])
    report.files = sum(map(len, batches))
    pool = ThreadPoolExecutor(workers)
    try:
        futures = {pool.submit(_problems, out, batch, digests): len(batch) for batch in batches}
        with progress_bar(report.files, 'file') as bar:
            for future in as_completed(futures):
                report.problems.update(future.result())
                bar.update(futures.pop(future))
    finally:
        pool.shutdown(cancel_futures=True)
    report.problems = dict(sorted(report.problems.items()))
    return report


def _unexpected(out: str | Path, images: Sequence[SourceImage]) -> list[str]:
    targets = {image.target for image in images}
    folders = {tree.cell_folder(*cell) for cell in _ALL_CELLS}
    digests = re.compile(rf'{tree.DIGESTS}/\d+-of-\d+\.sha256')

    def is_expected(path: str) -> bool:
        if path in (tree.MANIFEST, tree.ANNOTATIONS) or digests.fullmatch(path):
            return True
        if path.startswith(f'{tree.SCRATCH}/'):  # of a killed build; the next one takes it away
            return True
        corruption, _, rest = path.partition('/')
        severity, _, target = rest.partition('/')
        return f'{corruption}/{severity}' in folders and target in targets

    return [path for path in tree.list_files(out) if not is_expected(path)]


def _problems(out: str | Path, paths: list[str], digests: dict[str, str]) -> dict[str, str]:
    found = {path: _problem(out, path, digests.get(path)) for path in paths}
    return {path: problem for path, problem in found.items() if problem}


def _problem(out: str | Path, path: str, recorded: str | None) -> str | None:
    try:
        with open(Path(out, path), 'rb') as file:
            digest = hashlib.sha256()
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except FileNotFoundError:
        return 'missing'
    except OSError as error:
        return f'cannot be read ({error.strerror})'
    if recorded is None:
        return 'without a digest'
    return None if digest.hexdigest() == recorded else 'changed'
