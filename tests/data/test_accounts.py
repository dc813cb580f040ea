"""Whatever lies in a folder: what is used and what is left out are together what is there."""

import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from cnn_jax import data
from cnn_jax.errors import UsageError

NAMES = (
    "a", "b", "B", "train", "Train", "val", "test", "1", "2", "10", ".hidden", "__MACOSX", "[x]",
    "%s", "=1+1", "<b>", "*", "猫", "😀", "a b", "scan.png", "x.png", "y.JPG", "z.jfif",
    "no ending", "labels.csv", "notes.txt", "Thumbs.db", "{class}", "back\\slash",
)  # fmt: skip
KINDS = (
    "png", "jpg", "cut", "html", "empty", "text", "table", "folder", "loop", "nowhere", "link",
)  # fmt: skip
ITEMS = st.tuples(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3), st.sampled_from(KINDS))
PNG, JPG = io.BytesIO(), io.BytesIO()
Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(PNG, "PNG")
Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(JPG, "JPEG")
CONTENT = {
    "png": PNG.getvalue(),
    "jpg": JPG.getvalue(),
    "cut": JPG.getvalue()[:-20],
    "html": b"<html>404</html>",
    "empty": b"",
    "text": b"../notes",
    "table": b"file,label\nx.png,cat\ny.JPG,dog\n",
}


def put(root: Path, parts: list[str], kind: str) -> None:
    """Writes one thing, where nothing is in its way."""
    path = root.joinpath(*parts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "folder":
            path.mkdir()
        elif kind == "loop":
            path.symlink_to("..")
        elif kind == "nowhere":
            path.symlink_to("/nowhere/at/all")
        elif kind == "link":
            path.symlink_to(root / "train" / "a")
        else:
            with path.open("xb") as file:
                file.write(CONTENT[kind])
    except (FileExistsError, NotADirectoryError):
        return


def what_is_there(
    folder: Path, name: str = "", above: tuple[str, ...] = (), hidden: bool = False
) -> Iterator[str]:
    """Every file, link that leads nowhere or back, and empty folder; written once more."""
    real = os.path.realpath(folder)
    if any(each == real or each.startswith(f"{real}{os.sep}") for each in above):
        yield name
        return
    inside = sorted(os.listdir(folder))
    if name and not inside:
        yield name
    for each in inside:
        path, below = folder / each, f"{name}/{each}" if name else each
        unseen = hidden or each.startswith(".") or each in ("__MACOSX", "Thumbs.db")
        # Hidden links are counted and not followed.
        if path.is_dir() and not (unseen and path.is_symlink()):
            yield from what_is_there(path, below, (*above, real), unseen)
        else:
            yield below


@settings(max_examples=150, deadline=None)
@given(st.lists(ITEMS, max_size=12))
@example([(["train", "a", "loop"], "loop"), (["train", "a", ".hidden", "x.png"], "png")])
@example([(["val", "a", "x.png"], "png"), (["test", "x.png"], "png"), (["test", "b"], "nowhere")])
def test_used_and_left_out_are_what_is_there(items: list[tuple[list[str], str]]):
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "pets"
        for name in "ab":
            for index in range(5):
                put(root, ["train", name, f"{index}.png"], "png")
        for parts, kind in items:
            put(root, parts, kind)
        try:
            read = data.load(root, on_error="skip", cache_dir=Path(place) / "cache")
        except UsageError as error:
            assert "\n" not in str(error)
            return
        assert read.account is not None
        used, left = read.account.used.keys(), read.account.left.keys()
        assert not used & left
        assert sorted(used | left) == sorted(set(what_is_there(root)))
        pictures = [use for use in read.account.used.values() if use != "labels"]
        assert len(pictures) == sum(map(len, read.splits.values()))
