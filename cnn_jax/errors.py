"""The exceptions that mean: the user asked for something that cannot be done."""

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """Bad input. Its message is one line: what was wrong, and what would be right.

    The experiments print the message and exit with a non-zero status; any other exception is a
    fault of the program and keeps its traceback.
    """

    def __init__(self, message: str):
        # What it quotes, of files and names of others, may be of several.
        super().__init__(" ".join(message.splitlines()))


class DivergedError(Exception):
    """A run whose loss or parameters are no longer finite; it was stopped, and all is written."""


# Stands before the names of fields in a message.
_MARK = "\ue000"


class _Fields:
    """The fields of a choice, as an error names them: `FIELD.loss`, or `FIELD[name]`."""

    def __getattr__(self, name: str) -> str:
        return _MARK + name

    def __getitem__(self, name: str) -> str:
        return _MARK + name


FIELD = _Fields()


class FieldError(UsageError):
    """A choice that cannot be made, or not together with the others.

    Args:
        message: in which `FIELD.loss` stands for the name of the field `loss`.
    """

    def __init__(self, message: str):
        self._message = message
        super().__init__(self.named(""))

    def named(self, before: str) -> str:
        """The message with something before the name of each field: -- makes a flag of it."""
        return self._message.replace(_MARK, before)


def check_choice(field: str, value: object, choices: Iterable[str]) -> None:
    """Refuses a value that is none of the choices, and names the nearest one.

    Raises:
        FieldError: if it is none of them.
    """
    known = sorted(choices)
    if value not in known:
        hint = did_you_mean(str(value), known)
        raise FieldError(f"{FIELD[field]}={value} is not one of {', '.join(known)}{hint}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question for the known word that is most like this one, after a semicolon, or nothing.

    Small letters and capitals are alike.
    """
    words = {each.casefold(): each for each in known}
    close = difflib.get_close_matches(word.casefold(), words, n=1)
    return f"; did you mean {words[close[0]]}?" if close else ""
