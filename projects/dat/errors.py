"""The one exception that stands for a user's mistake."""


class UserError(Exception):
    """A mistake that the user can mend: one sentence with what was expected, what was found and the
    cure.

    Command-line tools print it without a stack trace and exit with status 2.
    """
