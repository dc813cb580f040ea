"""The exceptions that mean: the user asked for something that cannot be done."""

import difflib
from collections.abc import Iterable
from typing import Any


class UsageError(ValueError):
    """Bad input. Its message is one line: what was wrong, and what would be right.

    The experiments print the message and exit with a non-zero status; any other exception is a
    fault of the program and keeps its traceback.
    """


class FieldError(UsageError):
    """A choice that cannot be made, or not together with the others.

    Args:
        text: the message, as a format; a name in it that no value is given for is a field.
        **values: what else stands in the message.
    """

    def __init__(self, text: str, /, **values: Any):
        self._text, self._values = text, values
        super().__init__(self.named(""))

    def named(self, before: str) -> str:
        """The message with something before the name of each field: -- makes a flag of it."""
        return self._text.format_map(_Fields(before, self._values))


class _Fields(dict[str, Any]):
    def __init__(self, before: str, values: dict[str, Any]):
        super().__init__(values)
        self._before = before

    def __missing__(self, name: str) -> str:
        return self._before + name


def check_choice(field: str, value: object, choices: Iterable[str]) -> None:
    """Refuses a value that is none of the choices, and names the nearest one.

    Raises:
        FieldError: if it is none of them.
    """
    known = sorted(choices)
    if value not in known:
        raise FieldError(
            f"{{{field}}}={{value}} is not one of {{known}}{{hint}}",
            value=value,
            known=", ".join(known),
            hint=did_you_mean(str(value), known),
        )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question for the known word that is most like this one, after a semicolon, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
