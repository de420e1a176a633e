"""The exceptions that stand for a user's mistake."""


class UserError(Exception):
    """A mistake that the user can mend: one sentence with what was expected, what was found and the
    cure.

    Command-line tools print it without a stack trace and exit with status 2.
    """


class ArgumentError(UserError, ValueError):
    """An argument that is out of its range: a ValueError to callers, a sentence to users."""
