"""The report on a comparison: text for the terminal; Markdown, CSV and pictures as files."""

import io
from collections.abc import Sequence
from pathlib import Path

from projects.dat.runtime.errors import UserError
from projects.dat.runtime.files import replacing

from . import plots, tables
from .comparison import Comparison
from .results import RobustnessResult

PICTURES = {
    'severity_curves.png': plots.severity_curves,
    'differences.png': plots.difference_heatmaps,
    'clean_against_corrupted.png': plots.clean_against_corrupted,
}
NOTE = 'Differences are taken before rounding; of rPC they are percentage points.'


def terminal_text(comparison: Comparison) -> str:
    """All tables, aligned."""
    shown = tables.summary_tables(comparison) + tables.cell_tables(comparison)
    return '\n'.join([*map(tables.to_terminal, shown), NOTE])


def write_report(
    results: Sequence[RobustnessResult], names: Sequence[str], out: str | Path
) -> str:
    """Write comparison.md, comparison.csv, summary.csv and the pictures into a folder.

    Each file is written atomically and replaces that of an earlier report; a picture that this
    comparison has not is removed.

    Args:
        results: One result per run; differences are from the first.
        names: What the runs are called.
        out: The folder, made if missing.

    Returns:
        The tables for the terminal.

    Raises:
        UserError: The runs cannot be compared, or a file cannot be written.
    """
    comparison = Comparison(results, names)
    out = Path(out)
    links = []
    for name, draw in PICTURES.items():
        figure = draw(comparison)
        if figure is None:
            (out / name).unlink(missing_ok=True)
        else:
            picture = io.BytesIO()
            figure.savefig(picture, format='png', dpi=130)
            _write(out / name, picture.getvalue())
            links.append(f'![{name}]({name})\n')
    summary, cells = (
        [tables.to_markdown(table) for table in make(comparison)]
        for make in (tables.summary_tables, tables.cell_tables)
    )
    markdown = '\n'.join(['# Robustness\n', *summary, *links, *cells, NOTE, ''])
    _write(out / 'comparison.md', markdown.encode())
    _write(out / 'comparison.csv', tables.cells_csv(comparison).encode())
    _write(out / 'summary.csv', tables.summary_csv(comparison).encode())
    return terminal_text(comparison)


def _write(path: Path, content: bytes) -> None:
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise UserError(
            f'the report {path} cannot be written ({error.strerror}): name another folder'
        ) from None
