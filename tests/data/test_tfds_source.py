"""TensorFlow Datasets: small sets made here, and the real ones where TFDS_DATA_DIR has them."""

import importlib.util
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn_jax import data
from cnn_jax.data import tfds as tfds_source
from cnn_jax.errors import UsageError

Write = Callable[..., Path]


@pytest.fixture
def examples(rng: np.random.Generator) -> list[tuple[np.ndarray, int]]:
    return [(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), index % 2) for index in range(9)]


def _fail(*_: object) -> None:
    raise AssertionError("decoded again")


def test_a_prepared_set_is_read_in_order(
    write_tfds: Write, examples: list, capfd: pytest.CaptureFixture
):
    root = write_tfds({"train": examples, "test": examples[:4]})
    toy = data.load("toy_shapes", data_dir=root)
    assert toy.name == "toy_shapes"
    assert toy.class_names == ("circle", "square")
    assert toy.train.labels.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0]
    np.testing.assert_array_equal(toy.train.images, np.stack([image for image, _ in examples]))
    np.testing.assert_array_equal(toy.test.images, toy.train.images[:4])
    assert "tensorflow" not in sys.modules
    assert capfd.readouterr() == ("", "")


def test_the_folder_may_come_from_the_environment(
    write_tfds: Write, examples: list, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TFDS_DATA_DIR", str(write_tfds({"train": examples, "test": examples})))
    assert len(data.load("toy_shapes").train) == 9
    assert len(data.load("toy_shapes:1.0.0").train) == 9


def test_the_second_load_decodes_nothing_until_the_files_change(
    write_tfds: Write, examples: list, monkeypatch: pytest.MonkeyPatch
):
    root = write_tfds({"train": examples, "test": examples[:4]})
    first = data.load("toy_shapes", data_dir=root)
    monkeypatch.setattr(tfds_source, "_read_split", _fail)
    second = data.load("toy_shapes", data_dir=root)
    np.testing.assert_array_equal(first.train.images, second.train.images)
    assert (first.name, first.class_names) == (second.name, second.class_names)
    with pytest.raises(AssertionError, match="decoded again"):
        data.load("toy_shapes", data_dir=root, image_size=5)
    changed = next(root.rglob("*test.array_record*"))
    os.utime(changed, ns=(0, 0))
    with pytest.raises(AssertionError, match="decoded again"):
        data.load("toy_shapes", data_dir=root)


def test_more_than_one_batch(write_tfds: Write, examples: list, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tfds_source, "_BATCH", 4)
    toy = data.load("toy_shapes", data_dir=write_tfds({"train": examples, "test": examples}))
    np.testing.assert_array_equal(toy.train.images, np.stack([image for image, _ in examples]))


def test_gray_images_and_a_terminal(
    write_tfds: Write, examples: list, monkeypatch: pytest.MonkeyPatch
):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    gray = [(image[..., :1], label) for image, label in examples]
    root = write_tfds({"train": gray, "test": gray}, shape=(6, 8, 1))
    monkeypatch.setattr(sys, "stderr", terminal)
    toy = data.load("toy_shapes", data_dir=root)
    np.testing.assert_array_equal(toy.train.images, np.stack([image for image, _ in gray]))
    assert "Decoding toy_shapes, train split" in terminal.getvalue()


def test_different_sizes_need_an_image_size(write_tfds: Write, examples: list):
    tall = [(np.zeros((9, 6, 3), np.uint8), 1)]
    root = write_tfds({"train": examples + tall, "test": examples})
    with pytest.raises(UsageError, match=r"\(6, 8, 3\) and \(9, 6, 3\), expected an image size"):
        data.load("toy_shapes", data_dir=root)
    assert data.load("toy_shapes", data_dir=root, image_size=5).image_shape == (5, 5, 3)


@pytest.mark.parametrize("unlabeled", [False, True])
def test_validation_stands_in_for_a_missing_or_unlabeled_test(
    write_tfds: Write, examples: list, unlabeled: bool
):
    splits = {"train": examples, "validation": examples[:3]}
    if unlabeled:
        splits["test"] = [(image, -1) for image, _ in examples]
    assert len(data.load("toy_shapes", data_dir=write_tfds(splits)).test) == 3


def test_nothing_to_test_on_is_refused(write_tfds: Write, examples: list):
    root = write_tfds({"train": examples})
    with pytest.raises(UsageError, match="toy_shapes has the splits train, expected a labeled"):
        data.load("toy_shapes", data_dir=root)


def test_a_set_for_testing_only_is_read_where_that_will_do(write_tfds: Write, examples: list):
    names = list("0123456789")
    root = write_tfds({"test": examples}, name="cifar10_1", config="v6", class_names=names)
    with pytest.raises(UsageError, match="cifar10_1/v6 has no train split but test, .*evaluate"):
        data.load("cifar10_1/v6", data_dir=root)
    for _ in range(2):  # The second from the cache.
        shifted = data.load("cifar10_1/v6", data_dir=root, test_only=True)
        assert (shifted.name, len(shifted.train), len(shifted.test)) == ("cifar10_1/v6", 0, 9)
        assert shifted.class_names[0] == "airplane"
        assert shifted.image_shape == (6, 8, 3)


@pytest.mark.parametrize(
    ("name", "count", "some"),
    [
        ("cifar100", 100, {0: "apple", 49: "mountain", 99: "worm"}),
        ("cifar10_corrupted/brightness_1", 10, {2: "bird", 9: "truck"}),
        ("emnist/balanced", 47, {9: "9", 10: "A", 36: "a", 37: "b", 46: "t"}),
        ("emnist/byclass", 62, {10: "A", 36: "a", 61: "z"}),
        ("emnist/letters", 37, {1: "A", 26: "Z"}),
        ("svhn_cropped", 10, {0: "0", 9: "9"}),
    ],
)
def test_class_names_that_prepared_copies_lack(
    write_tfds: Write, examples: list, name: str, count: int, some: dict[int, str]
):
    stem, _, config = name.partition("/")
    root = write_tfds(
        {"train": examples, "test": examples},
        name=stem,
        config=config,
        class_names=[str(label) for label in range(count)],
    )
    names = data.load(name, data_dir=root).class_names
    assert len(set(names)) == count
    assert {label: names[label] for label in some} == some


def test_class_names_that_tfds_knows_and_its_label_key(write_tfds: Write, examples: list):
    names = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]
    splits = {"train": examples, "test": examples}
    root = write_tfds(splits, name="kmnist", class_names=names)
    assert data.load("kmnist", data_dir=root).class_names == tuple(names)
    root = write_tfds(splits, name="toy_animals", label_key="fine_label")
    assert data.load("toy_animals", data_dir=root).train.labels.tolist()[:3] == [0, 1, 0]


def test_emnist_is_turned_upright(write_tfds: Write, examples: list):
    names = [str(label) for label in range(10)]
    splits = {"train": examples, "test": examples}
    root = write_tfds(splits, name="emnist", config="digits", class_names=names)
    digits = data.load("emnist/digits", data_dir=root)
    np.testing.assert_array_equal(digits.test.images[3], examples[3][0].transpose(1, 0, 2))


def test_cifar10_has_its_names_even_where_the_prepared_copy_lacks_them(
    write_tfds: Write, examples: list
):
    digits = list("0123456789")
    splits = {"train": examples, "test": examples}
    write_tfds(splits, name="toy_digits", class_names=digits)
    root = write_tfds(splits, name="cifar10", class_names=digits)
    # The current version of cifar10 is another one: an old prepared one is found all the same.
    cifar10 = data.load("cifar10", data_dir=root)
    assert cifar10.class_names[:3] == ("airplane", "automobile", "bird")
    assert cifar10.class_names[-1] == "truck"
    assert data.load("toy_digits", data_dir=root).class_names == tuple(digits)


def test_damaged_files_are_one_clear_error(write_tfds: Write, examples: list):
    root = write_tfds({"train": examples, "test": examples})
    record = next(root.rglob("*train.array_record*"))
    record.write_bytes(record.read_bytes()[: record.stat().st_size // 2])
    with pytest.raises(UsageError, match="cannot read the train split of toy_shapes") as caught:
        data.load("toy_shapes", data_dir=root)
    assert "\n" not in str(caught.value)


def test_another_file_format_is_refused(write_tfds: Write, examples: list):
    root = write_tfds({"train": examples, "test": examples}, file_format="tfrecord")
    with pytest.raises(UsageError, match="prepared as tfrecord .* expected array_record"):
        data.load("toy_shapes", data_dir=root)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifa10", "neither a folder nor a name .* did you mean cifar10"),
        ("CIFAR-10", "CIFAR-10 is not prepared in .*cifar10"),
        ("Fashion-MNIST", "Fashion-MNIST is not prepared in .*fashion_mnist"),
        ("fashionmnist", "fashionmnist is not prepared in .*fashion_mnist"),
        ("data/no_such_set", "neither a folder nor a name of TensorFlow Datasets$"),
        ("not a name!", "neither a folder nor a name"),
        ("emnist/leters", "emnist has no configuration leters, but letters"),
        ("mnist:9.9.9", "cannot open mnist:9.9.9: .* 3.0.1"),
        ("mnist:3.0.1", "mnist:3.0.1 is not prepared in .*data.mnist.3.0.1.*ask for download"),
        ("emnist/letters", "emnist/letters is not prepared in .*data.emnist.letters"),
        ("imdb_reviews", "no image-classification set: it has text, label"),
    ],
)
def test_bad_names_are_one_clear_error(
    tmp_path: Path, name: str, message: str, capfd: pytest.CaptureFixture
):
    with pytest.raises(UsageError, match=message) as caught:
        data.load(name, data_dir=tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_preparing_without_tensorflow_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs tensorflow .* pip install 'cnn_jax\[prepare\]'"):
        data.load("fashion_mnist", data_dir=tmp_path, download=True)


@pytest.mark.parametrize("failure", [ConnectionError("no network\nat all"), OSError()])
def test_a_failed_preparation_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
):
    import tensorflow_datasets as tfds

    def download_and_prepare(self: Any, *, file_format: str) -> None:
        assert file_format == "array_record"
        raise failure

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", download_and_prepare)
    with pytest.raises(UsageError, match="cannot download and prepare fashion_mnist") as caught:
        data.load("fashion_mnist", data_dir=tmp_path, download=True)
    assert "\n" not in str(caught.value)


@pytest.fixture
def real_data(request: pytest.FixtureRequest) -> Callable[[str], data.Dataset]:
    """Loads a real set, into a cache that outlives the test run; skips where it is not prepared."""

    def load(name: str) -> data.Dataset:
        root = os.environ.get("TFDS_DATA_DIR")
        if not root:
            pytest.skip(f"TFDS_DATA_DIR is not set, so there is no prepared {name} to read")
        if not (Path(root) / name.split(":")[0]).is_dir():
            pytest.skip(f"TFDS_DATA_DIR has no prepared {name}")
        return data.load(name, cache_dir=request.config.cache.mkdir("datasets"))

    return load


def test_real_mnist_equals_the_embedded_one(real_data: Callable[[str], data.Dataset]):
    prepared, embedded = real_data("mnist:3.0.1"), data.load("mnist")
    for one, other in ((prepared.train, embedded.train), (prepared.test, embedded.test)):
        assert np.bincount(one.labels).tolist() == np.bincount(other.labels).tolist()
        assert {bytes(image) for image in one.images} == {bytes(image) for image in other.images}


def test_real_fashion_mnist(real_data: Callable[[str], data.Dataset]):
    fashion = real_data("fashion_mnist")
    assert fashion.class_names[0] == "T-shirt/top"
    assert fashion.class_names[9] == "Ankle boot"
    assert np.bincount(fashion.train.labels).tolist() == [6000] * 10
    assert np.bincount(fashion.test.labels).tolist() == [1000] * 10
    mean, std = data.channel_statistics(fashion.train.images)
    np.testing.assert_allclose([mean[0], std[0]], [0.2860, 0.3530], atol=5e-5)


def test_real_cifar10(real_data: Callable[[str], data.Dataset]):
    cifar10 = real_data("cifar10")
    assert cifar10.image_shape == (32, 32, 3)
    names = "airplane automobile bird cat deer dog frog horse ship truck"
    assert " ".join(cifar10.class_names) == names
    assert np.bincount(cifar10.train.labels).tolist() == [5000] * 10
    assert np.bincount(cifar10.test.labels).tolist() == [1000] * 10
    # The usual constants; a re-encoded copy of the pictures may be off by a little.
    mean, std = data.channel_statistics(cifar10.train.images)
    np.testing.assert_allclose(mean, [0.4914, 0.4822, 0.4465], atol=2e-3)
    np.testing.assert_allclose(std, [0.2470, 0.2435, 0.2616], atol=4e-3)
