"""Picture files that a user names: which there are, what they hold, and what is wrong with some."""

import sys
import warnings
from pathlib import Path
from typing import NoReturn

from absl import flags

from cnn_jax.analysis import pictures
from cnn_jax.data.files import is_archive
from cnn_jax.data.folders import PICTURE_SUFFIXES, has_frames, is_picture, scan
from cnn_jax.display import count, shown
from cnn_jax.errors import UsageError
from cnn_jax.studies.data_record import DataRecord
from cnn_jax.studies.saved_run import SavedRun

FLAGS = flags.FLAGS
flags.DEFINE_enum(
    "invert",
    "auto",
    ("auto", "yes", "no"),
    "Exchange light and dark in picture files. auto: where the border of a picture is unlike that "
    "of every (gray) training image, and its negative's is more like it.",
)


class Skipped:
    """Pictures that could not be read: told one by one, unless a single one is all there was."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.others: list[str] = []
        self.told = 0

    def add(self, path: Path, reason: str) -> None:
        """Notes what is wrong with a path."""
        self.reasons.append(f"{path}: {reason}")

    def note(self, what: str) -> None:
        """Notes what is no picture that somebody asked for."""
        self.others.append(what)

    def note_frames(self, paths: list[Path]) -> None:
        """Notes what is not looked at of pictures with several frames or pages."""
        found = [path for path in paths if path.is_file() and has_frames(path)]
        if found:
            more = f" and {count(len(found) - 1, 'other')}" if len(found) > 1 else ""
            self.note(f"all frames or pages of {found[0]}{more} but the first")

    def tell(self) -> None:
        """Prints what has been noted since the last time."""
        for reason in self.reasons[self.told :]:
            print(f"skipped {shown(reason)}", file=sys.stderr)
        for what in self.others:
            print(f"left out {shown(what)}", file=sys.stderr)
        self.told, self.others = len(self.reasons), []

    def fail(self) -> NoReturn:
        """Ends a program that has nothing to show.

        Raises:
            UsageError: always.
        """
        if len(self.reasons) == 1:
            raise UsageError(self.reasons[0])
        self.tell()
        raise UsageError(f"none of {len(self.reasons)} pictures could be read")


def find_pictures(paths: list[str], skipped: Skipped) -> list[Path]:
    """The files that are meant: those given, and the pictures in folders.

    Raises:
        UsageError: a path is empty, which would be this folder.
    """
    # What Pillow warns of (large files, damaged tags) it then reads, or refuses with a reason.
    warnings.filterwarnings("ignore", module="PIL")
    files = []
    for name in paths:
        if not name:
            raise UsageError("the name of a picture is empty; give pictures, or folders of them")
        path = Path(name)
        if path.is_dir():
            files += _in_folder(path, skipped)
        elif is_archive(path.name) and path.is_file():
            skipped.add(path, "it is an archive; unpack it and give the folder")
        else:
            files.append(path)
    return files


def _in_folder(folder: Path, skipped: Skipped) -> list[Path]:
    """The pictures in a folder, by their content; all else in it is told, by reason."""
    found = scan(folder)
    inside, others = [], dict(found.left)
    for file in found.top.walk():
        if file.name.lower().endswith(tuple(PICTURE_SUFFIXES)) or is_picture(folder / file.path):
            inside.append(folder / file.path)
        else:
            others[file.path] = "no picture"
    if not inside:
        skipped.add(folder, "the folder has no pictures")
    for why in sorted(set(others.values())):
        paths = [path for path, reason in others.items() if reason == why]
        more = f" and {count(len(paths) - 1, 'other')}" if len(paths) > 1 else ""
        skipped.note(f"{folder / paths[0]}{more}: {why}")
    return sorted(inside)


def read_fitted(path: Path, record: DataRecord) -> pictures.Fitted | str:
    """The picture in the style of the training images, or what is wrong with it."""
    invert = {"auto": None, "yes": True, "no": False}[FLAGS.invert]
    try:
        found = pictures.read_picture(path, record.style.shape[2], record.rule)
        fitted = pictures.fit_picture(found.image, record.style, invert, record.rule)
        return fitted._replace(truncated=found.truncated)
    except ValueError as error:
        return str(error)


def true_class(path: Path, saved: SavedRun) -> str | None:
    """The name of the folder that a picture lies in, where that is a class of the run."""
    folder = path.absolute().parent.name
    return folder if folder in saved.class_names and not saved.task.multi_label else None
