"""Tables for terminals and for Markdown, and how numbers look in them."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table of texts; the first column is aligned to the left, the others to the right."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def to_terminal(table: Table) -> str:
    """Aligned columns, long names of rows broken into several lines."""
    lines = []
    for first, *others in [table.header, *table.rows]:
        name, *rest = textwrap.wrap(first, 48)
        lines += [[name, *others], *([part, *[''] * len(others)] for part in rest)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = [
        '  '.join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in lines
    ]
    return '\n'.join([table.title, texts[0], '-' * len(texts[0]), *texts[1:]]) + '\n'


def to_markdown(table: Table) -> str:
    """A heading and a table."""
    lines = [table.header, ['---', *['---:'] * (len(table.header) - 1)], *table.rows]
    rows = [' | '.join(text.replace('|', r'\|') for text in line) for line in lines]
    return '\n'.join([f'## {table.title}', '', *(f'| {row} |' for row in rows)]) + '\n'


def from_markdown(text: str) -> tuple[list[Table], list[str]]:
    """What :func:`to_markdown` made tables of, and other lines; headings and pictures are not kept.
    """
    tables, others = [], []
    for line in text.splitlines():
        if line.startswith('## '):
            tables.append((line[3:], []))
        elif line.startswith('| ') and tables:
            cells = line.removeprefix('| ').removesuffix(' |').split(' | ')
            tables[-1][1].append([cell.replace(r'\|', '|') for cell in cells])
        elif line and not line.startswith(('# ', '![')):
            others.append(line)
    return [Table(title, lines[0], lines[2:]) for title, lines in tables if len(lines) > 1], others


def points(value: float) -> str:
    """A fraction in points."""
    return f'{100 * value:.1f}'


def signed(difference: float) -> str:
    """A difference of fractions in points; one that rounds to zero has no sign."""
    text = f'{100 * difference:+.1f}'
    return ' 0.0' if float(text) == 0 else text
