"""The report on a benchmark: text for the terminal; Markdown, JSON and pictures as files."""

import io
import shlex
import textwrap
from pathlib import Path

from projects.dat.evaluation.tables import to_markdown, to_terminal
from projects.dat.runtime.errors import UserError
from projects.dat.runtime.files import replacing

from . import plots, tables
from .results import BenchmarkResult

PICTURES = {'cost_by_size.png': plots.cost_by_size, 'cost_by_batch.png': plots.cost_by_batch}


def terminal_text(result: BenchmarkResult) -> str:
    """The tables, aligned, with the notes; times only of a GPU."""
    shown = _tables(result)
    remarks = [textwrap.fill(text, 100) for text in (*_notes(result), tables.LEGEND)]
    return '\n'.join([*map(to_terminal, shown), *remarks])


def write_report(result: BenchmarkResult, out: str | Path) -> None:
    """Write benchmark.json, benchmark.md and the pictures into a folder, each atomically.

    Args:
        result: With at least one round.
        out: The folder, made if missing.

    Raises:
        UserError: A file cannot be written.
    """
    out = Path(out)
    try:
        result.save(out / 'benchmark.json')
        for name, draw in PICTURES.items():
            picture = io.BytesIO()
            draw(result).savefig(picture, format='png', dpi=130)
            _write(out / name, picture.getvalue())
        _write(out / 'benchmark.md', _markdown(result).encode())
    except OSError as error:
        raise UserError(
            f'the report in {out} cannot be written ({error.strerror}): name another folder'
        ) from None


def _markdown(result: BenchmarkResult) -> str:
    machine = ', '.join(f'{key} {value}' for key, value in result.machine.items())
    parts = [
        '# Cost of discrete adversarial training\n',
        f'Detector: {result.detector}. {result.rounds} rounds; seed {result.seed}.\n',
        f'Machine: {machine}.\n',
        f'```\n{shlex.join(result.command)}\n```\n',
        *(f'- {line}' for line in _notes(result)),
        '',
        *map(to_markdown, _tables(result)),
        tables.LEGEND + '\n',
        *(f'![{name}]({name})\n' for name in PICTURES),
        *map(to_markdown, tables.spread_tables(result)),
    ]
    return '\n'.join(parts)


def _tables(result: BenchmarkResult) -> list:
    shown = tables.ratio_tables(result)
    if result.device == 'cuda':
        shown += tables.time_tables(result)
    changes = tables.change_table(result)
    return shown if changes is None else [*shown, changes]


def _notes(result: BenchmarkResult) -> list[str]:
    return [*result.notes, *tables.skipped_lines(result)]


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)
