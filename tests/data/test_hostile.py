"""Files that somebody made to do harm: none of them runs anything, fills the disk or the memory."""

import ast
import gzip
import io
import os
import pickle
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax import data
from cnn_jax.analysis.pictures import read_picture
from cnn_jax.data import tfds
from cnn_jax.data.cache import cached
from cnn_jax.display import cell, shown
from cnn_jax.errors import UsageError

ROOT = Path(__file__).parents[2]
SOURCES = [*ROOT.glob("cnn_jax/**/*.py"), *ROOT.glob("experiments/**/*.py")]
# Ages of files, and times that a tracker shows, are of no other clock.
BY_THE_WALL = {"cnn_jax/storage/_writing.py", "cnn_jax/studies/tracking.py"}
# Run what they read.
UNPICKLERS = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve", "jsonpickle"}


def calls(path: Path) -> Iterator[ast.Call]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_source_opens_any_format_or_unpickles(path: Path):
    for call in calls(path):
        name, keywords = ast.unparse(call.func), {keyword.arg for keyword in call.keywords}
        if name in ("Image.open", "PIL.Image.open"):
            assert "formats" in keywords, "a picture is opened by a list of formats"
        assert "allow_pickle=True" not in ast.unparse(call)
        # How long something took is not known from a clock that somebody may set.
        known = path.relative_to(ROOT).as_posix() in BY_THE_WALL
        assert known or name not in ("time.time", "datetime.now")
        assert not name.endswith(("extractall", "unpack_archive", "torch.load", "yaml.load"))
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {
        (node.module or "").partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }
    assert not imported & UNPICKLERS


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"


@pytest.fixture
def ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that says that it was started; Pillow starts it for EPS under any name."""
    marker, folder = tmp_path / "started", tmp_path / "bin"
    folder.mkdir()
    script = folder / "gs"
    script.write_text(f"#!/bin/sh\ntouch {marker}\n")
    script.chmod(script.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    return marker


def test_a_picture_starts_no_program(ghostscript: Path, write_picture, write_tfds, tmp_path: Path):
    for name in ("cat", "dog"):
        for index in range(5):
            write_picture(tmp_path / "set" / name / f"{index}.png")
    evil = tmp_path / "set" / "cat" / "evil.png"
    evil.write_bytes(EPS)
    with pytest.raises(UsageError, match="evil.png cannot be read"):
        data.load(tmp_path / "set")
    assert len(data.load(tmp_path / "set", on_error="skip").train) == 8
    with pytest.raises(ValueError, match="not a picture"):
        read_picture(evil, 3)
    with pytest.raises(OSError, match="cannot identify"):
        tfds._decode(EPS, 3)
    assert not ghostscript.exists()
    # So it would have been.
    with Image.open(evil) as picture, pytest.raises(OSError, match="."):
        picture.load()
    assert ghostscript.exists()


def png_of(width: int, height: int) -> bytes:
    """A picture of a few bytes that states any size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        sum_ = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + sum_

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(13_000, 13_000), (100_000, 100_000), (1, 2**31 - 1)])
def test_the_size_of_a_picture_is_refused_before_it_is_decoded(
    size: tuple[int, int], write_picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("cat", "dog"):
        for index in range(5):
            write_picture(tmp_path / "set" / name / f"{index}.png")
    large = tmp_path / "set" / "cat" / "large.png"
    large.write_bytes(png_of(*size))

    def decoded(self: object) -> None:
        raise AssertionError("it is decoded")

    with pytest.raises(ValueError, match="pixels"), monkeypatch.context() as patch:
        patch.setattr("PIL.PngImagePlugin.PngImageFile.load", decoded)
        read_picture(large, 3)
    with pytest.raises(UsageError, match="large.png cannot be read .*pixels"):
        data.load(tmp_path / "set")


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple:
        return Path.touch, (self.marker,)


def _npz_of_objects(folder: Path, evil: Evil) -> Path:
    objects = np.array([evil], object)
    np.savez(folder / "set.npz", x_train=objects, y_train=objects, allow_pickle=True)
    return folder / "set.npz"


def _pickle_named(name: str) -> Callable[[Path, Evil], Path]:
    def write(folder: Path, evil: Evil) -> Path:
        (folder / name).write_bytes(pickle.dumps(evil))
        return folder / name if name.endswith((".npz", ".csv", ".zip")) else folder

    return write


def _npy_named_npz(folder: Path, evil: Evil) -> Path:
    with (folder / "set.npz").open("wb") as file:
        np.save(file, np.array([evil], object), allow_pickle=True)
    return folder / "set.npz"


def _python_version_of_cifar(folder: Path, evil: Evil) -> Path:
    for name in ("data_batch_1", "data_batch_2", "test_batch", "batches.meta"):
        (folder / name).write_bytes(pickle.dumps(evil))
    return folder


@pytest.mark.parametrize(
    "write",
    [
        _npz_of_objects,
        _npy_named_npz,
        _python_version_of_cifar,
        _pickle_named("set.npz"),
        _pickle_named("set.csv"),
        _pickle_named("set.zip"),
        _pickle_named("train_32x32.mat"),
        _pickle_named("train-images-idx3-ubyte"),
        _pickle_named("labels.csv"),
        _pickle_named("cat.png"),
    ],
)
def test_nothing_is_unpickled(write: Callable[[Path, Evil], Path], tmp_path: Path):
    folder = tmp_path / "set"
    folder.mkdir()
    path = write(folder, Evil(tmp_path / "unpickled"))
    with pytest.raises(UsageError):
        data.load(path)
    assert not (tmp_path / "unpickled").exists()


def test_the_cache_is_not_unpickled(tmp_path: Path):
    sound = data.load("mnist")
    small = data.Dataset("small", sound.train[:20], sound.test[:20], sound.class_names)
    cached(lambda: small, name="small", key="key", cache_dir=tmp_path)
    (file,) = tmp_path.glob("*.npz")
    objects = np.array([Evil(tmp_path / "unpickled")], object)
    np.savez(file, name=objects, class_names=objects, said=objects, train_images=objects)
    again = cached(lambda: small, name="small", key="key", cache_dir=tmp_path)
    assert again.class_names == small.class_names
    assert not (tmp_path / "unpickled").exists()


OUTSIDE = ["../outside", "/tmp/outside-of-cnn-jax", "a/../../outside", "..\\outside", "C:\\outside"]


def _zip(path: Path, name: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, b"content")


def _tar(path: Path, name: str) -> None:
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.size = 7
        archive.addfile(info, io.BytesIO(b"content"))


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize(("write", "ending"), [(_zip, ".zip"), (_tar, ".tar.gz")])
def test_no_archive_writes_outside(write, ending: str, name: str, tmp_path: Path):
    archive = tmp_path / f"set{ending}"
    write(archive, name)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match="a path that leads out of the folder"):
        data.load(archive, cache_dir=tmp_path / "cache")
    made = {path for path in set(tmp_path.rglob("*")) - before if path.is_file()}
    assert not made
    assert not Path("/tmp/outside-of-cnn-jax").exists()


def test_links_and_devices_of_an_archive_are_not_made(tmp_path: Path):
    archive = tmp_path / "set.tar"
    with tarfile.open(archive, "w") as tarred:
        for name, kind in (("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tarred.addfile(info)
        info = tarfile.TarInfo("device")
        info.type = tarfile.CHRTYPE
        tarred.addfile(info)
    with pytest.raises(UsageError):
        data.load(archive, cache_dir=tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").rglob("*") if not path.is_dir()] == []


def test_a_header_of_gigabytes_is_not_read(tmp_path: Path):
    info = tarfile.TarInfo("long")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 4 << 30
    archive = tmp_path / "set.tar.gz"
    archive.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)))
    with pytest.raises(UsageError, match="cannot unpack .*4,294,967,296 bytes"):
        data.load(archive)


def test_what_unpacks_to_far_more_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cnn_jax.data.files._growth._ALWAYS_FINE", 1000)
    for name in ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte"):
        sizes = struct.pack(">3I", 1000, 100, 100)
        packed = gzip.compress(bytes([0, 0, 8, 3]) + sizes + bytes(10**7))
        (tmp_path / f"{name}.gz").write_bytes(packed)
    for name in ("train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"):
        (tmp_path / name).write_bytes(bytes([0, 0, 8, 1]) + struct.pack(">I", 1000) + bytes(1000))
    with pytest.raises(UsageError, match="would unpack to 10,000,000, which is no data set"):
        data.load(tmp_path)
    zeros = np.zeros((1000, 100, 100), np.uint8)
    np.savez_compressed(tmp_path / "zeros.npz", x_train=zeros, y_train=np.zeros(1000))
    with pytest.raises(UsageError, match="would unpack to 10,0"):
        data.load(tmp_path / "zeros.npz")


def test_an_array_that_states_more_than_it_has_takes_no_memory(tmp_path: Path):
    header = io.BytesIO()
    told = {"descr": "|u1", "fortran_order": False, "shape": (10**7, 1000, 1000)}
    np.lib.format.write_array_header_1_0(header, told)
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(f"{name}.npy", header.getvalue() + bytes(100))
    with pytest.raises(UsageError, match="states 10,000,000,000,000 bytes"):
        data.load(tmp_path / "set.npz")


def test_folders_may_be_nested_to_any_depth(write_picture, tmp_path: Path):
    for name in ("cat", "dog"):
        for index in range(5):
            write_picture(tmp_path / "set" / name / f"{index}.png")
    deep = tmp_path / "set" / "cat"
    os.chdir(deep)
    for _ in range(700):
        os.mkdir("d")
        os.chdir("d")
    os.chdir(tmp_path)
    read = data.load(tmp_path / "set")
    assert len(read.train) == 8
    assert "1 folder nested too deeply" in read.notes[0]


def test_the_whole_machine_is_no_data_set():
    with pytest.raises(UsageError, match="/ is all that is on this machine"):
        data.load("/")


def test_prepared_files_name_no_code_of_others(write_tfds, tmp_path: Path, rng, monkeypatch):
    examples = [(rng.integers(0, 256, (4, 4, 3), np.uint8), index % 2) for index in range(4)]
    root = write_tfds({"train": examples, "test": examples})
    (features,) = root.rglob("features.json")
    text = features.read_text()
    kind = "tensorflow_datasets.core.features.class_label_feature.ClassLabel"
    assert kind in text
    features.write_text(text.replace(kind, "evil_module.Evil"))
    (tmp_path / "evil_module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"features.json names evil_module.Evil, .* not opened"):
        data.load("toy_shapes", data_dir=root)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("cat", "cat"),
        ("日本 🙂 é", "日本 🙂 é"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("a\u202egnp.exe", "a\\u202egnp.exe"),
        ("\x9b31m", "\\x9b31m"),
        ("two\nlines\r", "two\\x0alines\\x0d"),
        ("\udcff", "\ufffd"),
        ("\ud800", "\ufffd"),
    ],
)
def test_names_obey_no_terminal(text: str, seen: str):
    assert shown(text) == seen


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("cat", "cat"),
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        (" =1", "' =1"),
        ("\t=1", "\\x09=1"),
        ("-0.5", "-0.5"),
        ("+1e3", "+1e3"),
        ("a=1", "a=1"),
    ],
)
def test_no_cell_begins_a_formula(text: str, written: str):
    assert cell(text) == written
