"""Layouts of folders, tables and files as people have them, beside those of the known cases."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax import data
from cnn_jax.data.folders._patterns import class_in_name
from cnn_jax.errors import UsageError

Write = Callable[..., Path]


@pytest.fixture
def many(tmp_path: Path, write_picture: Write) -> Callable[..., Path]:
    """Writes pictures 0.png to 9.png into each of several folders below one."""

    def write(*folders: str, count: int = 10) -> Path:
        for folder in folders:
            for index in range(count):
                write_picture(tmp_path / "set" / folder / f"{index}.png")
        return tmp_path / "set"

    return write


def lengths(read: data.Dataset) -> dict[str, int]:
    return {name: len(split) for name, split in read.splits.items()}


@pytest.mark.parametrize(
    "names",
    [
        ("TRAINING", "Validation", "TESTING"),
        ("training_set", "dev", "test_set"),
        ("trainset", "val", "eval"),
        ("seg_train/seg_train", "seg_val/seg_val", "seg_test/seg_test"),
        ("a/train", "a/valid", "a/test1"),
    ],
)
def test_names_of_splits(many: Callable[..., Path], names: tuple[str, ...]):
    read = data.load(many(*(f"{name}/{each}" for name in names for each in ("cat", "dog"))))
    assert lengths(read) == {"train": 20, "validation": 20, "test": 20}
    assert read.class_names == ("cat", "dog")


def test_a_class_may_be_called_train(many: Callable[..., Path]):
    assert data.load(many("bus", "car", "train")).class_names == ("bus", "car", "train")


def test_two_sets_and_two_training_splits_are_refused(many: Callable[..., Path]):
    root = many("one/train/a", "one/train/b", "two/train/a", "two/train/b")
    with pytest.raises(UsageError, match=r"several data sets; give .*one or .*two"):
        data.load(root)
    with pytest.raises(UsageError, match=r"train and .*training can both be the train split"):
        data.load(many("one/training/a") / "one")


@pytest.mark.parametrize(
    ("name", "pattern", "found"),
    [
        ("cat.0.jpg", "{class}.*", "cat"),
        ("american_bulldog_12.jpg", "{class}_*", "american_bulldog"),
        ("0001-cat.png", "*-{class}", "cat"),
        ("cat.0.jpg", "{class}.0.jpg", "cat"),
        ("[a]+1.png", "[{class}]+*", "a"),
        ("cat.jpg", "{class}.*", None),
    ],
)
def test_classes_in_names(name: str, pattern: str, found: str | None):
    assert class_in_name(name, pattern) == found


def test_a_flat_folder_is_read_by_a_pattern_that_is_proposed(tmp_path: Path, write_picture: Write):
    for index in range(10):
        write_picture(tmp_path / "train" / f"cat.{index}.jpg")
        write_picture(tmp_path / "train" / f"dog.{index}.jpg")
        write_picture(tmp_path / "test1" / f"{index}.jpg")
    with pytest.raises(UsageError, match=r"such as class_pattern=\{class\}\.\*"):
        data.load(tmp_path)
    read = data.load(tmp_path, class_pattern="{class}.*")
    assert (read.class_names, lengths(read)) == (("cat", "dog"), {"train": 16, "test": 4})


TABLES = {
    "id,breed\n": (["{i},{word}"], ("ape", "bee")),
    ",file,label\n": (["{i},{i}.png,{word}"], ("ape", "bee")),
    "image_id;dx;age\n": (["{i};{word};3{i}"], ("ape", "bee")),
    "path\tclass\n": (["C:\\data\\train\\{i}.png\t{word}"], ("ape", "bee")),
    "filename,label\n": (["./{i}.png,{half}.0"], ("3", "10")),
    "file,A,B\n": (["{i}.png,TRUE,FALSE", "{i}.png,False,true"], ("A", "B")),
    "file,A,B\n\n": (["{i}.png,-1,1", "{i}.png,1,-1"], ("A", "B")),
    "file;A;B\n": (["{i}.png;1,0;0,0", "{i}.png;0,0;1,0"], ("A", "B")),
    "image,tags\n": (["{i},x|y", "{i},y"], ("x", "y")),
}


@pytest.mark.parametrize("heading", TABLES)
@pytest.mark.parametrize("place", ["train/labels.csv", "train.csv", "train/metadata.csv"])
def test_tables(many: Callable[..., Path], heading: str, place: str):
    root, (rows, names) = many("train"), TABLES[heading]
    lines = [
        rows[i % len(rows)].format(i=i, word=("ape", "bee")[i % 2], half=(3, 10)[i % 2])
        for i in range(10)
    ]
    (root / place).write_text(heading + "\n".join(lines), encoding="utf-8-sig")
    read = data.load(root)
    assert (read.class_names, lengths(read)) == (names, {"train": 8, "test": 2})
    assert read.multi_label == data.is_multi_label(root) == (names[0] in "Ax")


def test_a_column_says_the_split(many: Callable[..., Path]):
    root = many("images")
    rows = [
        f"{i}.png,{'ab'[i % 2]},{('train', 'train', 'val', 'test')[i // 2 % 4]}" for i in range(8)
    ]
    (root / "labels.csv").write_text("\n".join(["file,label,split", *rows]))
    read = data.load(root)
    assert lengths(read) == {"train": 4, "validation": 2, "test": 2}
    assert "not in labels.csv" in read.notes[0]


@pytest.mark.parametrize(
    ("heading", "row", "message", "choice"),
    [
        ("file,label", "{i}.png,{bit}", r"label is 0 or 1, .*labels=one.*labels=several", "one"),
        ("file,tags", "{i}.png,clear sky{bit}", "one class .* or several labels", "several"),
        ("file,A,B", "{i}.png,0,-{bit}", "has 0 and -1", None),
    ],
)
def test_what_is_ambiguous_names_both_readings(
    many: Callable[..., Path], heading: str, row: str, message: str, choice: str | None
):
    root = many("train")
    lines = [row.format(i=i, bit=i % 2) for i in range(10)]
    (root / "train" / "labels.csv").write_text("\n".join([heading, *lines]))
    with pytest.raises(UsageError, match=message):
        data.load(root)
    if choice:
        assert data.load(root, labels=choice).multi_label == (choice == "several")


def test_a_table_that_contradicts_the_folders_is_refused(many: Callable[..., Path]):
    root = many("train/cat", "train/dog")
    rows = [f"{name}/{i}.png,{name}" for name in ("cat", "dog") for i in range(10)]
    rows[0] = "cat/0.png,dog"
    (root / "train" / "labels.csv").write_text("\n".join(["file,label", *rows]))
    with pytest.raises(UsageError, match=r"labels=folders\) and dog by labels.csv \(labels=one"):
        data.load(root)
    assert len(data.load(root, labels="folders").train) == 16


def test_an_outside_set_may_be_unsplit_and_of_one_class(many: Callable[..., Path]):
    read = data.load(many("dog"), test_only=True)
    assert lengths(read) == {"train": 0, "test": 10}
    found, notes = data.in_order_of(read, ("cat", "dog"))
    assert set(found.test.labels.tolist()) == {1}
    assert "cat of the run is not in this set" in notes[0]


def test_16_bit_pictures_of_an_outside_set_are_read_by_the_rule_of_the_run(tmp_path: Path):
    for folder, high in (("own", 4095), ("other", 1000)):
        for index, name in enumerate(("a", "b") * 5):
            path = tmp_path / folder / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((4, 4), high - index, np.uint16)).save(path)
    own = data.load(tmp_path / "own")
    assert (own.rule.bits, own.train.images.max()) == (12, 255)
    other = data.load(tmp_path / "other", rule=own.rule)
    assert other.train.images.max() == 1000 >> 4


def test_white_ink_on_transparent_ground_is_seen(tmp_path: Path):
    for index, name in enumerate(("a", "b") * 5):
        path = tmp_path / name / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        drawing = Image.new("LA", (4, 4), (255, 0))
        drawing.putpixel((index % 4, 1), (255, 255))
        drawing.save(path)
    images = data.load(tmp_path).train.images
    assert images.shape[1:] == (4, 4, 1)
    assert set(np.unique(images)) == {0, 255}


def archive(path: Path, names: list[str]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as zipped:
            for name in names:
                zipped.writestr(name, picture(name))
    else:
        with tarfile.open(path, "w:gz") as tarred:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = len(picture(name))
                tarred.addfile(info, io.BytesIO(picture(name)))
    return path


def picture(name: str) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.full((4, 4), sum(name.encode()) % 256, np.uint8)).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize("ending", ["zip", "tar.gz"])
def test_archives(tmp_path: Path, own_cache: Path, ending: str):
    names = [f"pets/{name}\\{i}.png" for name in ("cat", "dog") for i in range(10)]
    if ending == "tar.gz":
        names = [name.replace("\\", "/") for name in names]
    read = data.load(archive(tmp_path / f"pets.{ending}", names))
    assert (read.name, read.class_names) == ("pets", ("cat", "dog"))
    assert lengths(read) == {"train": 16, "test": 4}


@pytest.mark.parametrize("ending", ["zip", "tar.gz"])
@pytest.mark.parametrize("name", ["../out.png", "/tmp/out.png", "a/../../out.png", "..\\out.png"])
def test_no_path_leaves_the_target(tmp_path: Path, own_cache: Path, ending: str, name: str):
    with pytest.raises(UsageError, match="a path that leads out of the folder"):
        data.load(archive(tmp_path / f"bad.{ending}", ["a/0.png", name]))
    assert not list(own_cache.rglob("*.png"))


def test_what_unpacks_to_far_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cnn_jax.data.files._growth._ALWAYS_FINE", 1000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("a/0.png", bytes(10**6))
    with pytest.raises(UsageError, match="would unpack to 1,000,000"):
        data.load(tmp_path / "bomb.zip")
    (tmp_path / "cut.zip").write_bytes((tmp_path / "bomb.zip").read_bytes()[:50])
    with pytest.raises(UsageError, match="cannot unpack"):
        data.load(tmp_path / "cut.zip")


def test_arrays_of_medmnist_with_a_validation_split(tmp_path: Path, rng: np.random.Generator):
    arrays = {}
    for split, count in (("train", 12), ("val", 6), ("test", 6)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, 5, 5, 3), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(count)[:, None] % 3
    np.savez(tmp_path / "pathmnist.npz", **arrays)
    for path in (tmp_path / "pathmnist.npz", tmp_path):
        read = data.load(path)
        assert lengths(read) == {"train": 12, "validation": 6, "test": 6}
        assert (read.image_shape, read.class_names) == ((5, 5, 3), ("0", "1", "2"))
    arrays = {key: np.eye(4)[:, :3] if "labels" in key else a[:4] for key, a in arrays.items()}
    np.savez(tmp_path / "pathmnist.npz", **arrays)
    assert data.load(tmp_path).multi_label
    assert data.is_multi_label(tmp_path)


def test_arrays_of_objects_are_not_unpickled(tmp_path: Path):
    labels = np.array([0, "x"], object)
    np.savez(tmp_path / "x.npz", x_train=np.zeros((2, 4, 4)), y_train=labels)
    with pytest.raises(UsageError, match="y_train holds Python objects"):
        data.load(tmp_path / "x.npz")


@pytest.mark.parametrize("heading", [True, False])
def test_tables_of_pixels(tmp_path: Path, rng: np.random.Generator, heading: bool):
    pixels = rng.integers(0, 256, (20, 16))
    lines = [",".join(map(str, [i % 2, *row])) for i, row in enumerate(pixels.tolist())]
    first = ["label," + ",".join(f"pixel{i}" for i in range(16))] if heading else []
    (tmp_path / "mnist_train.csv").write_text("\n".join([*first, *lines]))
    (tmp_path / "test.csv").write_text("\n".join(lines[:3]).replace("0,", "", 1))
    (tmp_path / "test.csv").unlink()
    read = data.load(tmp_path)
    assert lengths(read) == {"train": 16, "test": 4}
    together = np.concatenate([read.train.images, read.test.images]).reshape(20, 16)
    assert sorted(map(bytes, together)) == sorted(map(bytes, pixels.astype(np.uint8)))


def test_idx_files_in_torchvisions_folders_and_of_several_sets(tmp_path: Path):
    def write(folder: Path, prefix: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for split, count in (("train", 4), ("t10k", 2)):
            images, labels = np.zeros((count, 3, 3), np.uint8), np.arange(count, dtype=np.uint8) % 2
            for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
                shape = b"".join(size.to_bytes(4, "big") for size in array.shape)
                content = bytes([0, 0, 8, array.ndim]) + shape + array.tobytes()
                (folder / f"{prefix}{split}-{kind}-ubyte").write_bytes(content)

    write(tmp_path / "one" / "MNIST" / "raw", "")
    assert lengths(data.load(tmp_path / "one")) == {"train": 4, "test": 2}
    write(tmp_path / "two", "emnist-letters-")
    write(tmp_path / "two", "emnist-digits-")
    with pytest.raises(UsageError, match=r"several sets of IDX files; give .*emnist-digits or "):
        data.load(tmp_path / "two")
    assert len(data.load(tmp_path / "two" / "emnist-digits").train) == 4


def test_names_that_are_no_text(tmp_path: Path, write_picture: Write):
    for index in range(5):
        write_picture(tmp_path / "set" / "a" / f"{index}.png")
        write_picture(tmp_path / "set" / "cl\udcffss" / f"{index}\udcfe.png")
    (tmp_path / "set" / "a" / "\udcfd.txt").write_text("notes")
    read = data.load(tmp_path / "set", cache_dir=tmp_path / "cache")
    assert read.class_names == ("a", "cl\ufffdss")
    assert "1 not a picture (a/\ufffd.txt)" in read.notes[0]
    "\n".join([*read.notes, *read.account.lines()]).encode()


@pytest.mark.parametrize("name", ["https://host/x.zip", "a\0b", "a b", "*", "[x]", "x/../y", "=1"])
def test_odd_names_are_one_clear_error(name: str):
    with pytest.raises(UsageError) as caught:
        data.load(name)
    assert "\n" not in str(caught.value)
    assert not data.is_multi_label(name)


def records(labels: list[tuple[int, ...]], rng) -> tuple[bytes, np.ndarray]:
    """Records of CIFAR's binary version, and the images in them."""
    images = rng.integers(0, 256, (len(labels), 32, 32, 3), np.uint8)
    planes = images.transpose(0, 3, 1, 2).reshape(len(labels), -1)
    content = b"".join(
        bytes(each) + row.tobytes() for each, row in zip(labels, planes, strict=True)
    )
    return content, images


@pytest.mark.parametrize("named", [True, False])
def test_the_binary_version_of_cifar100(named: bool, tmp_path: Path, rng):
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    # The superclass, then the class: maple tree, whale and worm, of trees, mammals and others.
    labels = [(17, 47), (0, 95), (13, 99)] * 4
    train, images = records(labels, rng)
    test, _ = records(labels[:3], rng)
    (folder / "train.bin").write_bytes(train)
    (folder / "test.bin").write_bytes(test)
    names = [f"class {index}" for index in range(100)]
    (folder / "fine_label_names.txt").write_text("\n".join(names) if named else "")
    read = data.load(folder)
    expected = ("class 47", "class 95", "class 99") if named else ("47", "95", "99")
    assert read.class_names == expected
    assert read.train.labels.tolist() == [0, 1, 2] * 4
    np.testing.assert_array_equal(read.train.images, images)
    (folder / "test.bin").write_bytes(test[:-1])
    with pytest.raises(UsageError, match="test.bin has 9,221 bytes, expected records of 3,074"):
        data.load(folder)
