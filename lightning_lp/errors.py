"""The one exception that stands for a user's mistake."""


class UserError(Exception):
    """Something that the user can put right: a file, a column, a value or a setting.

    Its text is one clear sentence or two: where it is, what was found, what was wanted and what to do.
    The command line prints it without a traceback and exits with status 2.
    """
