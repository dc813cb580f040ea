"""Archives: nothing in one is lost in silence, and nothing half-unpacked stays."""

import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax import data
from cnn_jax.errors import UsageError

BLOCK = tarfile.BLOCKSIZE


def picture(index: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.full((4, 4), 10 * index, np.uint8)).save(content, "PNG")
    return content.getvalue()


def packed() -> tuple[bytes, int]:
    """A tar file of 24 pictures, and where the header of the thirteenth stands."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tarred:
        for index in range(24):
            info = tarfile.TarInfo(f"pets/{('cat', 'dog')[index % 2]}/{index}.png")
            info.size = len(picture(index))
            tarred.addfile(info, io.BytesIO(picture(index)))
    content.seek(0)
    with tarfile.open(fileobj=content) as tarred:
        return content.getvalue(), tarred.getmembers()[12].offset


def _written_over(by: bytes) -> Callable[[bytes, int], bytes]:
    return lambda tar, header: tar[:header] + by + tar[header + len(by) :]


@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_written_over(b"\xff" * 100), "is damaged, or has something behind its end, at byte"),
        (_written_over(bytes(BLOCK)), "is damaged, or has something"),
        (_written_over(bytes(2 * BLOCK)), "is damaged, or has something"),
        (lambda tar, header: tar + tar, "is damaged, or has something"),
        (lambda tar, header: tar[: header + 100], "is damaged, or has something"),
        (lambda tar, header: tar[:header], "is cut: it has no end at byte"),
    ],
)
def test_a_damaged_header_is_no_end(
    tmp_path: Path, own_cache: Path, ending: str, damage: Callable[[bytes, int], bytes],
    message: str,
):  # fmt: skip
    content = damage(*packed())
    path = tmp_path / f"pets.{ending}"
    path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    with pytest.raises(UsageError, match=message):
        data.load(path)
    assert not list((own_cache / "unpacked").iterdir())


def test_zeros_behind_the_end_are_its_filling(tmp_path: Path):
    (tmp_path / "pets.tar").write_bytes(packed()[0] + bytes(20 * BLOCK))
    assert len(data.load(tmp_path / "pets.tar").train) == 19


def test_zeros_without_end_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cnn_jax.data.files._growth._ALWAYS_FINE", 1000)
    path = tmp_path / "pets.tar.gz"
    path.write_bytes(gzip.compress(packed()[0] + bytes(10**7)))
    with pytest.raises(UsageError, match="far more than it is"):
        data.load(path)


def test_links_to_what_is_in_a_tar_file_are_pictures(tmp_path: Path):
    with tarfile.open(tmp_path / "pets.tar", "w") as tarred:
        for index in range(24):
            info = tarfile.TarInfo(f"pets/all/{index}.png")
            info.size = len(picture(index))
            tarred.addfile(info, io.BytesIO(picture(index)))
        for index in range(24):
            split = "train" if index < 16 else "test"
            info = tarfile.TarInfo(f"pets/{split}/{('cat', 'dog')[index % 2]}/{index}.png")
            info.type, info.linkname = tarfile.SYMTYPE, f"../../all/{index}.png"
            tarred.addfile(info)
    read = data.load(tmp_path / "pets.tar")
    assert (len(read.train), len(read.test)) == (16, 8)


def test_what_a_killed_unpacking_left_is_removed(tmp_path: Path, own_cache: Path, monkeypatch):
    (tmp_path / "pets.tar").write_bytes(packed()[0])
    with monkeypatch.context() as patch:
        # A process that is killed runs no code.
        patch.setattr("cnn_jax.data.files.archives.shutil.rmtree", lambda *args, **more: None)
        patch.setattr("cnn_jax.data.files.archives.os.replace", lambda *args: 1 / 0)
        with pytest.raises(UsageError):
            data.load(tmp_path / "pets.tar")
    (left,) = (own_cache / "unpacked").iterdir()
    assert list(left.rglob("*.png"))
    data.load(tmp_path / "pets.tar")
    assert left.is_dir()
    os.utime(left, (0, 0))
    os.utime(tmp_path / "pets.tar", (0, 0))
    data.load(tmp_path / "pets.tar")
    assert not left.exists()


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("pets/bird", "cat"),
        ("pets/bird", "/birds"),
        ("pets/bird", "../../birds"),
        ("pets/bird", "bird"),
        ("pets/cat/99.png", "../dog/99.png"),
        ("pets/test", "../held_out"),
    ],
)
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_to_folders_and_to_nothing_in_a_tar_file_are_said(
    tmp_path: Path, name: str, target: str, kind: bytes
):
    path = tmp_path / "pets.tar"
    path.write_bytes(packed()[0])
    with tarfile.open(path, "a") as tarred:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        tarred.addfile(info)
    below = name.removeprefix("pets/")
    with pytest.raises(UsageError, match=rf"{below} cannot be read \(link kept as text\)"):
        data.load(path)
    assert data.load(path, on_error="skip").account.left == {name: "link kept as text"}


def test_devices_in_a_tar_file_are_refused(tmp_path: Path):
    path = tmp_path / "pets.tar"
    path.write_bytes(packed()[0])
    with tarfile.open(path, "a") as tarred:
        info = tarfile.TarInfo("pets/cat/pipe")
        info.type = tarfile.FIFOTYPE
        tarred.addfile(info)
    with pytest.raises(UsageError, match="holds pets/cat/pipe, which is a device"):
        data.load(path)


def test_links_kept_as_text_in_a_zip_file_are_said(tmp_path: Path):
    path = tmp_path / "pets.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        for index in range(24):
            zipped.writestr(f"pets/{('cat', 'dog')[index % 2]}/{index}.png", picture(index))
        zipped.writestr("pets/bird", "../birds")
    with pytest.raises(UsageError, match=r"bird cannot be read \(link kept as text\)"):
        data.load(path)
