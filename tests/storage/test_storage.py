"""Files are whole or not there, are what was written, and have one writer at a time."""

import errno
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax import storage
from cnn_jax.storage import DamagedError, WriteError
from tests.storage.faults import disk


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Does not wait for writers that are not there."""
    monkeypatch.setattr("cnn_jax.storage._sums._PAUSE", 0)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_what_was_written_and_sha256sum_agrees(tmp_path: Path):
    storage.record(tmp_path / "new" / "a b.txt", "blue – grün\n")
    storage.record(tmp_path / "new" / "bytes", b"\x00\xff")
    storage.record(tmp_path / "new" / "bytes", b"\x00\xfe")
    assert storage.read(tmp_path / "new" / "bytes") == b"\x00\xfe"
    assert storage.read(tmp_path / "new" / "a b.txt").decode() == "blue – grün\n"
    assert names(tmp_path / "new") == ["SHA256SUMS", "a b.txt", "bytes"]
    subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path / "new", check=True
    )


@pytest.mark.parametrize("content", [b"", b"ol", b"olf", b"old\n"])
def test_what_was_changed_is_named(tmp_path: Path, content: bytes):
    file = tmp_path / "file"
    storage.record(file, b"old")
    file.write_bytes(content)
    with pytest.raises(DamagedError, match=f"{file} is damaged"):
        storage.read(file)


def test_what_is_missing_is_named_and_what_never_was_is_not(tmp_path: Path):
    storage.record(tmp_path / "file", b"old")
    (tmp_path / "file").unlink()
    assert storage.is_recorded(tmp_path / "file")
    with pytest.raises(DamagedError, match="file is missing"):
        storage.read(tmp_path / "file")
    assert not storage.is_recorded(tmp_path / "other")
    with pytest.raises(FileNotFoundError):
        storage.read(tmp_path / "other")


def test_a_folder_without_checksums_is_read_and_gets_them(tmp_path: Path):
    (tmp_path / "older").write_bytes(b"content")
    assert storage.recorded(tmp_path) is None
    assert storage.read(tmp_path / "older") == b"content"
    storage.record(tmp_path / "newer", b"")
    assert storage.recorded(tmp_path) == ["newer", "older"]
    (tmp_path / "older").write_bytes(b"contend")
    with pytest.raises(DamagedError):
        storage.read(tmp_path / "older")


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_damaged_checksums_are_refused_or_do_no_harm(data: st.DataObject, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sums")
    for name in ("one", "two"):
        storage.record(folder / name, name)
    sums = folder / storage.SUMS_FILE
    content = bytearray(sums.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    sums.write_bytes(content[: data.draw(st.sampled_from([len(content), place]))])
    for name in ("one", "two"):
        try:
            assert storage.read(folder / name) == name.encode()
        except DamagedError as error:
            assert storage.SUMS_FILE in str(error)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("recovers", [False, True])
def test_at_whatever_change_the_disk_fails_all_is_as_it_was_or_new(
    tmp_path: Path, code: int, recovers: bool
):
    def work(folder: Path) -> None:
        storage.record(folder / "kept", "new")
        storage.record(folder / "epoch_2", "two", instead_of=[folder / "epoch_1"])
        storage.remove(folder / "gone")

    with disk() as counting:
        for name, content in (("kept", "old"), ("epoch_1", "one"), ("gone", "")):
            storage.record(tmp_path / "sound" / name, content)
        start = counting.count
        work(tmp_path / "sound")
    changes = counting.count - start
    assert changes > 30
    for number in range(1, changes + 1):
        folder = tmp_path / str(number)
        for name, content in (("kept", "old"), ("epoch_1", "one"), ("gone", "")):
            storage.record(folder / name, content)
        with disk(number, code, recovers):
            try:
                work(folder)
            except WriteError as error:
                assert os.strerror(code) in str(error) and "\n" not in str(error)
        assert not [name for name in names(folder) if name.endswith(".part")]
        assert storage.read(folder / "kept") in (b"old", b"new")
        held = [name for name in ("epoch_1", "epoch_2") if (folder / name).exists()]
        assert storage.read(folder / held[-1]) == {"1": b"one", "2": b"two"}[held[-1][-1]]
        # The same again, now that there is room.
        work(folder)
        assert names(folder) in (
            ["SHA256SUMS", "epoch_2", "kept"],
            ["SHA256SUMS", "epoch_1", "epoch_2", "kept"],
        )
        assert [storage.read(folder / name) for name in ("kept", "epoch_2")] == [b"new", b"two"]


def test_lines_are_added_whole(tmp_path: Path):
    file = tmp_path / "lines"
    storage.append(file, "one\n")
    with disk() as counting:
        storage.append(file, "two\n")
    for number in range(1, counting.count + 1):
        with disk(number), pytest.raises(WriteError):
            storage.append(file, "three\n")
    assert file.read_text() == "one\ntwo\n"


def test_half_a_line_is_taken_back(tmp_path: Path):
    """A limit of the system, so that a part of it is written."""
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom cnn_jax import storage\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        "try:\n    storage.append(Path(sys.argv[1]), 'x' * 20)\n"
        "except storage.WriteError as error:\n    print(error)\n"
    )
    file = tmp_path / "lines"
    storage.append(file, "one\n")
    done = subprocess.run(
        [sys.executable, "-c", code, file], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"cannot write {file}: ")
    assert file.read_text() == "one\n"


def test_what_cannot_be_written_is_known_before(tmp_path: Path):
    storage.check_writable(tmp_path / "file")
    storage.write(tmp_path / "file", b"content")
    storage.check_writable(tmp_path / "file")
    storage.check_writable(Path(os.devnull))
    bad = {
        tmp_path: "Is a directory",
        tmp_path / "no" / "file": f"there is no folder {tmp_path / 'no'}",
        tmp_path / "file" / "file": f"there is no folder {tmp_path / 'file'}",
        tmp_path / ("x" * 300): "File name too long",
    }
    for path, why in bad.items():
        with pytest.raises(WriteError, match=f"cannot write {path}: {why}"):
            storage.check_writable(path)
    for number in (1, 2):
        with disk(number, errno.EACCES), pytest.raises(WriteError, match="Permission denied"):
            storage.check_writable(tmp_path / "other")
            storage.write(tmp_path / "other", b"")
    assert names(tmp_path) == ["file"] and (tmp_path / "file").read_bytes() == b"content"


def test_what_is_no_file_is_written_to_and_not_replaced(tmp_path: Path):
    storage.write(Path(os.devnull), b"content")
    assert Path(os.devnull).is_char_device()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    storage.write(tmp_path / "link", b"content")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"content"


def hold(folder: Path) -> None:
    with storage.locked(folder):
        (folder / "ready").write_text("")
        time.sleep(60)


def test_a_second_writer_is_told_of_the_first_until_that_is_dead(tmp_path: Path):
    folder = tmp_path / "[run]"
    process = multiprocessing.get_context("spawn").Process(target=hold, args=(folder,))
    process.start()
    while not (folder / "ready").exists():
        time.sleep(0.01)
    who = f"process {process.pid} on {os.uname().nodename}"
    assert storage.holder(folder) == who
    with pytest.raises(ValueError, match=who), storage.locked(folder):
        pass
    # Readers do not wait.
    storage.read(folder / "ready")
    process.kill()
    process.join()
    assert storage.holder(folder) is None
    part = folder / "deep" / ".file.1-1.part"
    part.parent.mkdir()
    part.write_bytes(b"half")
    with storage.locked(folder):
        assert not part.exists()


@pytest.mark.parametrize("linked", [True, False])
def test_a_file_under_a_second_name_is_known_there_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: bool
):
    source, second = tmp_path / "file", tmp_path / "new" / "file"
    storage.record(source, "words")
    if not linked:

        def link(*_: object) -> None:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr("os.link", link)
    storage.link(source, second)
    assert os.path.samefile(source, second) == linked
    assert storage.recorded(second.parent) == ["file"]
    storage.record(source, "others")
    assert storage.read(second) == b"words"


def test_a_file_system_without_locks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    def flock(*_: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr("fcntl.flock", flock)
    with storage.locked(tmp_path):
        pass
    assert "has no locks" in capsys.readouterr().err


def write_often(file: Path, times: int) -> None:
    for number in range(times):
        storage.record(file, f"{number} " * 2000)


def test_who_reads_beside_a_writer_sees_whole_files_only(tmp_path: Path):
    file = tmp_path / "file"
    storage.record(file, "0 " * 2000)
    process = multiprocessing.get_context("spawn").Process(target=write_often, args=(file, 100))
    process.start()
    seen = set()
    while process.is_alive():
        words = storage.read(file).decode().split()
        assert len(words) == 2000 and len(set(words)) == 1
        seen.add(words[0])
    process.join()
    assert process.exitcode == 0 and len(seen) > 1
