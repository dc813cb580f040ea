"""What people call data sets: MNIST, CIFAR-10, Fashion-MNIST, and what they mean by it."""

import difflib
import re
from collections.abc import Iterable

# What letters and digits alone do not tell.
_MEANT = {
    "fmnist": "fashion_mnist",
    "fashion": "fashion_mnist",
    "svhn": "svhn_cropped",
    "kuzushijimnist": "kmnist",
    "dogsvscats": "cats_vs_dogs",
    "catsanddogs": "cats_vs_dogs",
    "flowers": "tf_flowers",
    "oxfordpets": "oxford_iiit_pet",
    "pets": "oxford_iiit_pet",
    "stl": "stl10",
    "imagenet": "imagenet2012",
}
_ALIKE = 0.7
_EMNIST = ("balanced", "byclass", "bymerge", "digits", "letters", "mnist")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def resolve(name: str, known: Iterable[str]) -> str | None:
    """The data set that a name means.

    Args:
        name: as people write it, perhaps with `/configuration` and `:version`.
        known: the names that there are.

    Returns:
        The name as it is known, or None where no one name fits.
    """
    known = list(known)
    stem, rest = re.fullmatch(r"([^/:]*)(.*)", name, re.DOTALL).groups()  # type: ignore[union-attr]
    if stem in known:
        return name
    plain = _plain(stem)
    same = [each for each in known if _plain(each) == plain]
    if len(same) == 1:
        return same[0] + rest
    for config in _EMNIST:
        if plain == f"emnist{config}" and "emnist" in known:
            return f"emnist/{config}"
    meant = _MEANT.get(plain)
    return meant + rest if meant and meant.partition("/")[0] in known else None


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """The names most like one, at most three, the likest first."""
    stem = _plain(re.split("[/:]", name)[0])
    by_plain = {_plain(each): each for each in known}
    return [by_plain[each] for each in difflib.get_close_matches(stem, by_plain, 3, _ALIKE)]
