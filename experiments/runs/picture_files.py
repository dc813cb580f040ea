"""Picture files that a user names: which there are, what they hold, and what is wrong with some."""

import sys
import warnings
from pathlib import Path
from typing import NoReturn

from absl import flags

from cnn_jax.analysis import pictures
from cnn_jax.data.folders import PICTURE_SUFFIXES
from cnn_jax.errors import UsageError
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
        self.told = 0

    def add(self, path: Path, reason: str) -> None:
        """Notes what is wrong with a path."""
        self.reasons.append(f"{path}: {reason}")

    def tell(self) -> None:
        """Prints what has been noted since the last time."""
        for reason in self.reasons[self.told :]:
            print(f"skipped {reason}", file=sys.stderr)
        self.told = len(self.reasons)

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
    """The files that are meant: those given, and those in folders, by the ending of their name."""
    # What Pillow warns of (large files, damaged tags) it then reads, or refuses with a reason.
    warnings.filterwarnings("ignore", module="PIL")
    files = []
    for path in map(Path, paths):
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(
            file
            for file in path.rglob("*")
            if file.suffix.lower() in PICTURE_SUFFIXES and not file.name.startswith(".")
        )
        if not inside:
            skipped.add(path, f"the folder has no pictures ({' '.join(sorted(PICTURE_SUFFIXES))})")
        files += inside
    return files


def read_fitted(path: Path, style: pictures.Style) -> pictures.Fitted | str:
    """The picture in the style of the training images, or what is wrong with it."""
    invert = {"auto": None, "yes": True, "no": False}[FLAGS.invert]
    try:
        return pictures.fit_picture(pictures.read_picture(path, style.shape[2]), style, invert)
    except ValueError as error:
        return str(error)


def true_class(path: Path, saved: SavedRun) -> str | None:
    """The name of the folder that a picture lies in, where that is a class of the run."""
    folder = path.absolute().parent.name
    return folder if folder in saved.class_names and not saved.task.multi_label else None
