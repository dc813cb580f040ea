"""The lines of a table, however a program wrote it: its encoding, its ends of lines, its commas."""

import csv
import io
import re
from pathlib import Path

from cnn_jax.errors import UsageError

_LONGEST_HEAD = 1 << 16


def read_rows(path: Path, head: bool = False) -> list[list[str]]:
    """The lines of a table that say anything, as their cells.

    Args:
        path: of the table.
        head: whether the first of them alone is wanted.

    Raises:
        UsageError: it cannot be opened, is no text, or has a quotation without end.
    """
    try:
        text = _decode(_head(path) if head else path.read_bytes())
        lines = list(io.StringIO(text, newline=""))
        while lines and not lines[0].strip():
            del lines[0]
        delimiter = max(",;\t|", key=lines[0].count) if lines else ","
        # Excel writes what stands between columns, and reads it.
        if lines and re.fullmatch("sep=.", lines[0].strip(), re.IGNORECASE):
            delimiter = lines.pop(0).strip()[-1]
        # Of the first line alone a quoted cell may go on in the next.
        table = csv.reader(lines[:1] if head else lines, delimiter=delimiter, strict=not head)
        rows = [row for row in table if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    return rows


def _head(path: Path) -> bytes:
    """The beginning of a file, in whole lines where it has some."""
    with path.open("rb") as file:
        content = file.read(_LONGEST_HEAD)
    whole = content[: content.rfind(b"\n") + 1]
    return content if len(content) < _LONGEST_HEAD else whole or content


def _decode(content: bytes) -> str:
    """As spreadsheets write text: UTF-8, UTF-16 with its mark, or else Windows' code page."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", errors="ignore")
    if b"\0" in content:
        raise UnicodeDecodeError("utf-8", content[:1], 0, 1, "it is no text")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")
