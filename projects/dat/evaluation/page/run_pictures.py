"""Pictures and analyses that runs left, for a page."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from projects.dat.training.attack_pictures import COLUMNS

from ..show import FOLDER
from ..tables import Table
from .inline_pictures import Picture, inline
from .run_folders import Run


@dataclass
class Analysis:
    """What tools/analyze.py wrote into one folder."""

    title: str
    summary: str
    pictures: list[Picture]
    table: Table | None


def attack_pictures(methods: Mapping[str, Sequence[Run]], amiss: list[str]) -> list[Picture]:
    """Of one method the first and the last picture; of several the last of each, of one seed."""
    pictures = []
    for runs in methods.values():
        run, files = next(((run, x) for run in runs if (x := _attack_files(run))), (None, {}))
        steps = sorted(files)
        for step in steps[:1] * (len(methods) == 1 and len(steps) > 1) + steps[-1:]:
            caption = f'{run.title}, iteration {step}'
            alt = f'{caption}: rows of training images, in columns {", ".join(COLUMNS)}.'
            pictures += inlined(files[step], caption, alt, amiss)
    return pictures


def _attack_files(run: Run) -> dict[int, Path]:
    """By iteration; a later start's count."""
    files = {}
    for start in run.starts:
        for file in (start / 'vis_data' / 'vis_image').glob('attack_*.png'):
            if (step := file.stem.removeprefix('attack_')).isdigit():
                files[int(step)] = file
    return files


def example_pictures(
    root: Path, methods: Mapping[str, Sequence[Run]], amiss: list[str]
) -> list[Picture]:
    """Pictures of test images: of each method those of one seed."""
    pictures, seen = [], {}
    for run, title, folder in _places(root, methods):
        files = sorted((folder / FOLDER).glob('*.png'))
        if not files or (run and seen.setdefault(run.method, run) != run):
            continue
        for file in files:
            caption = ': '.join(filter(None, [title, file.stem]))
            alt = f'{caption}: a test image, clean and changed, with what the model finds.'
            pictures += inlined(file, caption, alt, amiss)
    return pictures


def analyses_of(
    root: Path, methods: Mapping[str, Sequence[Run]], amiss: list[str]
) -> list[Analysis]:
    """In the root's folder, and in those of the runs."""
    analyses = []
    for _, title, parent in _places(root, methods):
        for folder in sorted(x for x in (parent / 'analyses').glob('*') if x.is_dir()):
            name = folder.name.replace('_', ' ')
            text, rows = folder / 'summary.md', folder / 'table.csv'
            summary = text.read_text(errors='replace').strip() if text.is_file() else ''
            pictures = [
                picture for file in sorted(folder.glob('*.png'))
                for picture in inlined(
                    file, file.stem.replace('_', ' '), f'{file.stem}: {summary or name}', amiss
                )
            ]
            table = _read_csv(rows, f'{name}: the figures') if rows.is_file() else None
            if summary or pictures or table:
                heading = f'{name}, {title}' if title else name
                analyses.append(Analysis(heading, summary, pictures, table))
    return analyses


def _places(
    root: Path, methods: Mapping[str, Sequence[Run]]
) -> Iterator[tuple[Run | None, str, Path]]:
    """Folders that may hold pictures and analyses: whose they are, and what is said of that."""
    yield None, '', root
    for runs in methods.values():
        for run in runs:
            title = run.title if len(methods) > 1 or len(runs) > 1 else ''
            if run.folder != root:
                yield run, title, run.folder
            yield run, title, run.folder / 'evaluation'  # where tools/compare.py evaluates
            for probe in run.probes:
                yield run, ', '.join(filter(None, [title, probe.name])), probe / 'evaluation'


def inlined(file: Path, caption: str, alt: str, amiss: list[str]) -> list[Picture]:
    """The picture, or none, and a word on that among what is amiss; see :func:`inline`."""
    try:
        return [inline(file, caption, alt)]
    except (OSError, ValueError) as error:
        amiss.append(f'{file} cannot be read as a picture: {error}')
        return []


def _read_csv(file: Path, title: str) -> Table | None:
    with open(file, newline='', errors='replace') as stream:
        rows = [row for row in csv.reader(stream) if row]
    return Table(title, rows[0], [[_rounded(x) for x in row] for row in rows[1:]]) if rows else None


def _rounded(text: str) -> str:
    """Full precision is for the file."""
    try:
        number = float(text)
    except ValueError:
        return text
    return text if len(text) <= 8 or number.is_integer() else f'{number:.4g}'
