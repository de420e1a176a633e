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
from .tree import Cell, read_source

_CELLS = {tree.cell_folder(name, s): (name, s) for name in CORRUPTIONS for s in SEVERITIES}
# Unfinished files are of a killed build; the next one takes them away.
_EXPECTED = re.compile(
    rf'{tree.MANIFEST}|{tree.ANNOTATIONS}|{tree.SCRATCH}/.*|{tree.DIGESTS}/\d+-of-\d+\.sha256'
)


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
    targets = {i.target for i in read_source(Path(out, tree.ANNOTATIONS), image_format).images}
    if cells is None:
        cells = [cell for folder, cell in _CELLS.items() if Path(out, folder).is_dir()]
    if not cells:
        raise UserError(f'{out} has no images yet: build it first')
    digests = tree.read_digests(out)
    folders = [tree.cell_folder(*cell) for cell in cells]
    batches = [[f'{folder}/{target}' for folder in folders] for target in targets]
    batches.append([tree.ANNOTATIONS])
    report = VerifyReport(cells, sum(map(len, batches)))
    problems = {path: 'unexpected' for path in tree.list_files(out) if _is_foreign(path, targets)}
    pool = ThreadPoolExecutor(workers)
    try:
        futures = {pool.submit(_problems, out, batch, digests): len(batch) for batch in batches}
        with progress_bar(report.files, 'file') as bar:
            for future in as_completed(futures):
                problems.update(future.result())
                bar.update(futures.pop(future))
    finally:
        pool.shutdown(cancel_futures=True)
    report.problems = dict(sorted(problems.items()))
    return report


def _is_foreign(path: str, targets: set[str]) -> bool:
    corruption, severity, target = (*path.split('/', 2), '', '')[:3]
    in_a_cell = f'{corruption}/{severity}' in _CELLS and target in targets
    return not in_a_cell and not _EXPECTED.fullmatch(path)


def _problems(out: str | Path, paths: list[str], digests: dict[str, str]) -> dict[str, str]:
    found = {}
    for path in paths:
        try:
            digest = hashlib.sha256(Path(out, path).read_bytes()).hexdigest()
        except FileNotFoundError:
            found[path] = 'missing'
        except OSError as error:
            found[path] = f'cannot be read ({error.strerror})'
        else:
            if path not in digests:
                found[path] = 'without a digest'
            elif digests[path] != digest:
                found[path] = 'changed'
    return found
