"""Do the arguments that a config gives fit the class that they are for?"""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .errors import ArgumentError


def check_arguments(
    target: Callable, arguments: Mapping[str, Any], where: str, also: Sequence[str] = ()
) -> None:
    """Check that ``target(**arguments)`` has every argument that it needs and no other.

    Args:
        target (Callable): A class or function.
        arguments (Mapping): By name, without ``type``.
        where (str): Where they stand, such as 'adversarial.attack'.
        also (Sequence[str]): Further names that stand beside the target's. Defaults to ().

    Raises:
        ArgumentError: One is unknown or missing.
    """
    names, required = parameters(target)
    known = [*also, *(names or required)]
    for name in arguments:
        if names is not None and name not in known:
            raise ArgumentError(
                f'{where} has the argument {name!r}, which {target.__name__} does not take'
                f'{nearest(name, known)}: it takes {", ".join(known) or "none"}'
            )
    missing = [name for name in required if name not in arguments]
    if missing:
        raise ArgumentError(
            f'{where} lacks {", ".join(missing)}, which {target.__name__} needs: it takes '
            f'{", ".join(known)}'
        )


def check_numbers(**values: Any) -> None:
    """Check that every value is a number.

    Raises:
        ArgumentError: One is not, such as the text '8/255' of a command line.
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ArgumentError(f'{name} must be a number, such as 0.031, not {value!r}')


def parameters(target: Callable) -> tuple[list[str] | None, list[str]]:
    """Names that a class or function takes by keyword, and those of them without a default.

    A constructor with ``**kwargs`` is taken to hand them to the next one in line. The names are
    None where the last one has ``**kwargs`` too, so that anything goes.
    """
    functions = [target]
    if inspect.isclass(target):
        kinds = [kind for kind in target.__mro__[:-1] if '__init__' in vars(kind)]
        functions = [vars(kind)['__init__'] for kind in kinds] or [lambda self: None]
    names, required = [], []
    for i, function in enumerate(functions):
        own = list(inspect.signature(function).parameters.values())
        own = own[1:] if inspect.isclass(target) else own  # without self
        for parameter in own:
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                names += [parameter.name] if parameter.name not in names else []
                if i == 0 and parameter.default is parameter.empty:
                    required.append(parameter.name)
        if not any(parameter.kind == parameter.VAR_KEYWORD for parameter in own):
            return names, required
    return None, required


def nearest(name: str, names: Iterable[str]) -> str:
    """' (did you mean ...?)' with the most similar of the names, or nothing."""
    found = difflib.get_close_matches(name, names, n=1)
    return f' (did you mean {found[0]!r}?)' if found else ''
