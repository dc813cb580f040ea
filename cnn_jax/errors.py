"""The one exception that means: the user asked for something that cannot be done."""


class UsageError(ValueError):
    """Bad input. Its message is one line: what was wrong, and what would be right.

    The experiments print the message and exit with a non-zero status; any other exception is a
    fault of the program and keeps its traceback.
    """
