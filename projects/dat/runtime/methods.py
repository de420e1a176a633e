"""Methods of training by name: config fragments that a command line chooses among."""

from collections.abc import Iterable
from pathlib import Path

from .errors import UserError

FRAGMENTS = Path(__file__).parents[3] / 'configs' / '_base_' / 'attacks'
PLAIN = 'plain'


def methods_of(texts: Iterable[str]) -> dict[str, str | None]:
    """Fragments by the methods' names; None for the plain one.

    Args:
        texts (Iterable[str]): Each ``NAME=FRAGMENT``, or the name alone of one of
            ``configs/_base_/attacks``, or 'plain'.

    Raises:
        UserError: Two have the same name, or one has none that a folder could have.
    """
    methods = {}
    for text in texts:
        name, _, fragment = text.partition('=')
        if not name or name in methods or Path(name).name != name:
            raise UserError(
                f'expected a name of its own for every method, fit for a folder, but got {text!r}'
            )
        methods[name] = fragment or (None if name == PLAIN else str(FRAGMENTS / f'{name}.py'))
    return methods
