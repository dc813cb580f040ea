"""Texts of others (names of files, classes, labels) as they can be shown, and words of our own."""

import re
from collections.abc import Iterable

# What a terminal obeys (control characters), and what turns the direction of all that follows.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# So many names are listed before the rest are counted.
_LISTED = 8
# What bytes that are no text become in the names of files (PEP 383).
_NO_TEXT = re.compile("[\ud800-\udfff]")
# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@")


def shown(text: str) -> str:
    """A path or a name as it can be printed.

    Control characters, and those that turn the direction of writing, become escapes that can be
    read; bytes that are no text become a mark each.
    """
    return _CONTROL.sub(_escape, _NO_TEXT.sub("\ufffd", text))


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def cell(text: str) -> str:
    """A text as a cell of a CSV file, which no spreadsheet takes for a formula.

    What begins like one, and is no number, gets an apostrophe before it, which spreadsheets take
    away (https://owasp.org/www-community/attacks/CSV_Injection).
    """
    safe = shown(text)
    return f"'{safe}" if safe.lstrip().startswith(_FORMULA) and not _is_number(safe) else safe


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def p_value(p: float) -> str:
    """A p-value to three digits; the small ones are only said to be small."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def count(number: int, what: str) -> str:
    """The number with its noun: "1 seed", "3 seeds"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def listed(names: Iterable[str]) -> str:
    """One name or more in a sentence: "relu, elu and gelu"; beyond eight, how many more."""
    names = list(names)
    if len(names) > _LISTED + 1:
        names = [*names[:_LISTED], f"{len(names) - _LISTED} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
