"""What became of every file of a folder: used as what, or left out and why."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from cnn_jax.display import shown

# Of the files that are left out for a reason, so many are named.
_NAMED = 3
_CLASSES = 12


@dataclass(frozen=True)
class Account:
    """Every file, link and empty folder of a folder, once.

    Attributes:
        used: what each is used as, by its path below the root: "train cat".
        left: why each other is left out, likewise.
    """

    used: dict[str, str]
    left: dict[str, str]

    def lines(self) -> Iterable[str]:
        """Every path with what became of it, in order."""
        everything = {path: f"used as {use}" for path, use in self.used.items()}
        everything |= {path: f"left out: {why}" for path, why in self.left.items()}
        return (f"{shown(path)}: {everything[path]}" for path in sorted(everything))

    def left_out(self) -> str:
        """How many are left out for which reason, in words; empty if none is."""
        if not self.left:
            return ""
        reasons = Counter(self.left.values())
        return f"left out: {', '.join(self._reason(why, reasons[why]) for why in sorted(reasons))}"

    def _reason(self, why: str, count: int) -> str:
        paths = sorted(path for path, reason in self.left.items() if reason == why)
        names = ", ".join(paths[:_NAMED]) + (", ..." if count > _NAMED else "")
        return f"{count:,} {why} ({shown(names)})"


def counts(names: Iterable[str]) -> str:
    """How often each name is there, in words, in the order of the first."""
    numbers = Counter(names)
    if len(numbers) <= _CLASSES and not all(map(str.isdecimal, numbers)):
        return ", ".join(f"{name} {count:,}" for name, count in numbers.items())
    few, many = min(numbers.values()), max(numbers.values())
    size = f"{few:,}" if few == many else f"{few:,} to {many:,}"
    return f"{sum(numbers.values()):,} ({len(numbers):,} classes of {size})"
