"""The order in which people expect names: 2 before 10."""

import re


def natural(name: str) -> tuple:
    """A key to sort names by: digits as numbers, the rest as text.

    Args:
        name: any text.
    """
    parts = re.split(r"([0-9]+)", name)
    key = [
        (len(part.lstrip("0")), part.lstrip("0")) if index % 2 else (0, part)
        for index, part in enumerate(parts)
    ]
    return tuple(key), name
