"""Patterns of file names that hold the class, such as `{class}.*`."""

from cnn_jax.data.folders._pixels import PICTURE_SUFFIXES

MARK = "{class}"


def class_in_name(name: str, pattern: str) -> str | None:
    """The class that a file's name holds.

    Args:
        name: of the file; its ending is left out where the pattern has none.
        pattern: text as it stands in the name, with `{class}` for the class, as long as can be,
            and `*` for anything.

    Returns:
        The class, or None where the name is not like the pattern.
    """
    stem, dot, ending = name.rpartition(".")
    if dot and f".{ending}".lower() in PICTURE_SUFFIXES and not pattern.endswith(f".{ending}"):
        name = stem
    before, _, after = pattern.partition(MARK)
    for end in range(len(name), 0, -1):
        for start in range(end) if "*" in before else [len(before)]:
            if start < end and _like(name[:start], before) and _like(name[end:], after):
                return name[start:end]
    return None


def _like(text: str, pattern: str) -> bool:
    """Whether a text is like a pattern in which only * has a meaning."""
    first, *rest = pattern.split("*")
    if not rest:
        return text == pattern
    if not text.startswith(first) or not text.endswith(rest[-1]):
        return False
    position = len(first)
    for part in rest[:-1]:
        found = text.find(part, position)
        if found < 0:
            return False
        position = found + len(part)
    return position <= len(text) - len(rest[-1])


def guess_pattern(names: list[str]) -> str | None:
    """A pattern that finds two or more classes in names, each several times; None without one."""
    for separator in "._- ":
        pattern = f"{MARK}{separator}*"
        found = [class_in_name(name, pattern) for name in names]
        kinds = set(found)
        if None not in kinds and 2 <= len(kinds) <= len(names) / 2:
            return pattern
    return None
