"""The exceptions that stand for a user's mistake, and how a process ends with one."""

import os
import sys
import time
from typing import NoReturn

RANK_0_HEAD_START = 15.0  # seconds; ranks start that far apart at most


class UserError(Exception):
    """A mistake that the user can mend: one sentence with what was expected, what was found and the
    cure.

    Command-line tools print it without a stack trace and exit with status 2.
    """


class ArgumentError(UserError, ValueError):
    """An argument that is out of its range: a ValueError to callers, a sentence to users."""


def sentence(error: UserError) -> str:
    """The sentence alone: a loader's worker puts its stack trace before it."""
    kind = type(error)
    return str(error).strip().splitlines()[-1].removeprefix(
        f'{kind.__module__}.{kind.__qualname__}: '
    )


def leave(message: str) -> NoReturn:
    """Print ``error: message`` to stderr and exit with status 2."""
    if int(os.environ.get('LOCAL_RANK', 0)):
        # torchrun ends all ranks as soon as one exits: where all of them meet the same mistake,
        # rank 0 shall be the only one that speaks.
        time.sleep(RANK_0_HEAD_START)
    print(f'error: {message}', file=sys.stderr)
    raise SystemExit(2)


def install_excepthook() -> None:
    """Let an uncaught :class:`UserError` end the process with its sentence and status 2.

    For commands of other libraries, which do not know it. All other exceptions are shown as before.
    """
    previous = sys.excepthook

    def show(kind: type, error: BaseException, trace) -> None:
        if isinstance(error, UserError):
            leave(sentence(error))  # a SystemExit raised in the hook sets the status
        previous(kind, error, trace)

    if getattr(previous, '__module__', None) != __name__:
        sys.excepthook = show
