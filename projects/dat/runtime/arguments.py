"""Arguments from a config, checked before a class refuses them with a stack trace."""

import difflib
import inspect
from collections.abc import Callable, Sequence

from .errors import ArgumentError


def check_arguments(
    function: Callable, arguments: dict, where: str, also: Sequence[str] = ()
) -> None:
    """Check that a function or class takes these arguments, and that none it needs is missing.

    Args:
        function (Callable): Its signature counts; with ``**kwargs`` any name is fine.
        arguments (dict): By name.
        where (str): The config's key that holds them, for the message.
        also (Sequence[str]): Further names that stand beside the function's. Defaults to ().

    Raises:
        ArgumentError: A name is unknown, or a needed one is missing.
    """
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [*also, *(parameter.name for parameter in parameters)]
    for name in arguments:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            guess = f' (did you mean {near[0]!r}?)' if near else ''
            raise ArgumentError(
                f'{where} has the argument {name!r}, which {function.__name__} does not take'
                f'{guess}: it takes {", ".join(known)}'
            )
    missing = [p.name for p in parameters if p.default is p.empty and p.name not in arguments]
    if missing:
        raise ArgumentError(
            f'{where} lacks {", ".join(missing)}, which {function.__name__} needs: it takes '
            f'{", ".join(known)}'
        )
