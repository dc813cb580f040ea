"""Bad input: one line that says what was wrong, exit code 2, and nothing left behind."""

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax import compilation, storage

BASE = ("--filters=4", "--hidden=8", "--batch_size=10", "--epochs=1")


def fails(outcome, message: str) -> None:
    """One line on stderr, for people."""
    assert outcome.code == 2, outcome
    assert outcome.err.startswith("error: ")
    assert len(outcome.err.splitlines()) == 1, outcome.err
    assert message in outcome.err
    assert "Traceback" not in outcome.out + outcome.err


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--activation=reluu"], "--activation=reluu is not one of elu, gelu"),
        (["--activation=reluu"], "relu, selu"),
        (["--activation=reluu"], "; did you mean relu?"),
        (["--optimizer=adamm"], "adam, adamax"),
        (["--optimizer=adamm"], "; did you mean adam?"),
        (["--model=lenet"], "--model=lenet is not one of airnet, cnn, lenet5, "),
        (["--model=lenet"], "; did you mean lenet5?"),
        (["--loss="], "cross_entropy"),
        (["--learning_rat=0.1"], "--learning_rat is not a flag of train"),
        (["--learning_rat=0.1"], "; did you mean --learning_rate?"),
        (["--optimiser=adam"], "; did you mean --optimizer?"),
        (["--preset=mnits"], "--preset=mnits is not one of cifar10-airbench, "),
        (["--preset=mnits"], "; did you mean mnist?"),
        (["--preset="], "--preset= is not one of cifar10-airbench, "),
        (["--preset"], "--preset= is not one of cifar10-airbench, "),
        (["--epochs=1.5"], "--epochs=1.5"),
        (["--epochs=0"], "--epochs=0: 0 is not a positive integer"),
        (["--epochs"], "Missing value for flag --epochs"),
        (["--seed=-1"], "--seed=-1"),
        (["--seed=2147483648"], "--seed=2147483648"),
        (["--batch_size=0"], "--batch_size=0"),
        (["--learning_rate=fast"], "--learning_rate=fast"),
        (["--flagfile=missing.flags"], "missing.flags"),
        (["more"], "unexpected argument 'more'"),
        (["--kernel_size=16"], "--kernel_size=16 does not fit the 8x8"),
        (["--filters=4,4,4,4"], "--filters asks for 4 blocks"),
        (["--filters=a,b"], "--filters must be positive integers with commas between, got 'a,b'"),
        (["--filters=4,0"], "--filters must be positive integers"),
        (["--filters="], "--filters must be positive integers"),
        (["--hidden=-3"], "--hidden must be positive integers"),
        (["--learning_rate=-0.1"], "--learning_rate must be in (0, inf), got -0.1"),
        (["--learning_rate=nan"], "--learning_rate must be in (0, inf), got nan"),
        (["--optimizer=adam", "--momentum=0.9"], "--momentum has no effect with --optimizer=adam"),
        (["--optimizer=sgd", "--momentum=0"], "--momentum has no effect with --optimizer=sgd"),
        (["--clip_norm=0"], "--clip_norm must be in (0, inf), got 0"),
        (["--dropout_rate=1"], "--dropout_rate must be in [0, 1), got 1"),
        (["--dropout_rate=-0.5"], "--dropout_rate must be in [0, 1), got -0.5"),
        (["--schedule=exponential", "--final_fraction=0"], "--final_fraction must be positive"),
        (["--model=resnet20"], "--filters has no effect with --model=resnet20"),
        (["--validation_fraction=1"], "--validation_fraction must be in [0, 1), got 1"),
        (["--validation_fraction=nan"], "--validation_fraction must be in [0, 1), got nan"),
        (["--validation_fraction=0.99"], "would leave a class with none to train"),
        (["--train_examples=73"], "73 examples were asked for, expected 1 to 72"),
        (["--resume"], "--resume needs the --workdir"),
        (["--devices=2"], "--devices=2: there is 1 (cpu); give at most 1"),
        (["--devices=0"], "--devices must be all or a positive integer, got '0'"),
        (["--devices=most"], "--devices must be all or a positive integer, got 'most'"),
        (["--mesh=batch:2"], "--mesh=batch:2 is of 2 devices, but there are 1"),
        (["--mesh=trial:4,batch:2", "--devices=1"], "of 8 devices, but --devices=1 is 1"),
        (["--mesh=rows:2"], "--mesh=rows:2: 'rows' is not an axis; give trial:4,batch:2"),
        (["--mesh="], "'' is not an axis"),
        (["--mesh=batch:2,"], "'' is not an axis"),
        (["--mesh=batch=2"], "'batch=2' is not an axis"),
        (["--mesh=batch"], "batch needs a positive number of devices after a colon, as in batch:4"),
        (["--mesh=batch:0"], "batch needs a positive number of devices"),
        (["--mesh=batch:2:2"], "batch needs a positive number of devices"),
        (["--mesh=batch:1,batch:1"], "gives batch twice"),
        (
            ["--mesh=trial:1", "--shard_data"],
            "--shard_data splits the data set over the axis batch",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_flags(program, digits: Path, elsewhere: Path, flags: list[str], message: str):
    fails(program(f"--dataset={digits}", *BASE, *flags), message)
    assert not any(elsewhere.iterdir())


def test_how_data_are_read_has_no_effect_on_others(program, digits: Path):
    for flags, message in (
        (["--dataset=mnist", "--on_error=skip"], "--on_error=skip has no effect without a folder"),
        (["--dataset=mnist", "--labels=folders"], "--dataset=mnist is none here"),
        (["--dataset=cifar10", "--class_pattern={class}.*"], "--dataset=cifar10 is none here"),
        ([f"--dataset={digits}", "--resize=pad"], "no effect without --image_size"),
    ):
        fails(program(*flags), message)


def test_model_without_the_flag_and_too_small_images(program, digits: Path, elsewhere: Path):
    fails(
        program(f"--dataset={digits}", "--model=lenet5", "--filters=4"),
        "--filters has no effect with --model=lenet5; it is for --model=cnn",
    )
    fails(
        program(f"--dataset={digits}", "--model=lenet5", "--batch_size=10"),
        "lenet5 needs images of at least 12x12 pixels, got 8x8",
    )
    assert not any(elsewhere.iterdir())


def test_a_compiler_that_computes_wrong_numbers(
    program, digits: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(compilation, "untrusted", lambda: ("a sum",))
    fails(
        program(f"--dataset={digits}", *BASE),
        "computes wrong numbers on this CPU (a sum); 0.10.2 or 0.12.0.1 is right; install one of "
        "them, or train all the same with --unsafe",
    )
    assert not any(elsewhere.iterdir())
    outcome = program(f"--dataset={digits}", *BASE, "--unsafe", "--workdir=run")
    assert outcome.code == 0
    assert "computes wrong numbers on this CPU (a sum)" in outcome.err


def truncated(digits: Path, folder: Path) -> None:
    shutil.copytree(digits, folder, dirs_exist_ok=True)
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])


def label_out_of_range(digits: Path, folder: Path) -> None:
    shutil.copytree(digits, folder, dirs_exist_ok=True)
    path = folder / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + bytes([200]))


def file_missing(digits: Path, folder: Path) -> None:
    shutil.copytree(digits, folder, dirs_exist_ok=True)
    (folder / "t10k-labels-idx1-ubyte").unlink()


def no_images(digits: Path, folder: Path) -> None:
    shutil.copytree(digits, folder, dirs_exist_ok=True)
    (folder / "t10k-images-idx3-ubyte").write_bytes(
        bytes([0, 0, 8, 3]) + struct.pack(">3I", 0, 8, 8)
    )
    (folder / "t10k-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1]) + struct.pack(">I", 0))


def unreadable_picture(digits: Path, folder: Path) -> None:
    for name in ("cat", "dog"):
        for split in ("train", "test"):
            (folder / split / name).mkdir(parents=True)
            for index in range(3):
                picture = Image.fromarray(np.full((8, 8), 40 * index, np.uint8))
                picture.save(folder / split / name / f"{index}.png")
    (folder / "train" / "dog" / "1.png").write_text("not a picture")


def empty(digits: Path, folder: Path) -> None:
    folder.mkdir()


def a_file(digits: Path, folder: Path) -> None:
    folder.write_text("")


def absent(digits: Path, folder: Path) -> None:
    pass


@pytest.mark.parametrize(
    "damage, message",
    [
        (truncated, "train-images-idx3-ubyte is truncated"),
        (label_out_of_range, "labels run from 0 to 200, expected 0 to 3"),
        (file_missing, "lacks t10k-labels-idx1-ubyte"),
        (no_images, "is empty"),
        (unreadable_picture, "dog/1.png"),
        (empty, "holds neither IDX files nor a folder train"),
        (a_file, "is a file, expected a folder"),
        (absent, "there is no folder"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_data(
    program, digits: Path, tmp_path: Path, elsewhere: Path, damage: Callable, message: str
):
    folder = tmp_path / "data"
    damage(digits, folder)
    fails(program(f"--dataset={folder}", *BASE), message)
    assert not any(elsewhere.iterdir())


@pytest.mark.parametrize(
    "name, message",
    [
        ("cifar10", "cifar10 is not prepared in "),
        ("cifar11", "neither a folder nor a name of TensorFlow Datasets; did you mean cifar10"),
        ("", "the name of the data set is empty"),
    ],
)
def test_tensorflow_datasets(program, tmp_path: Path, elsewhere: Path, name: str, message: str):
    fails(program(f"--dataset={name}", f"--data_dir={tmp_path}", *BASE), message)
    assert not any(elsewhere.iterdir())


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(program, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch, its report left out."""
    workdir = tmp_path_factory.mktemp("runs") / "finished"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cnn_jax.analysis.report.render_report", lambda *what: "")
        patch.setattr("cnn_jax.analysis.report.look", lambda *what: None)
        assert program(f"--dataset={digits}", f"--workdir={workdir}", *BASE).code == 0
    return workdir


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of that run, to spoil."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.mark.parametrize(
    "flags, message",
    [
        ([], "already exists; give a new folder, or --resume"),
        (["--resume", "--filters=8"], "has --filters=4, but the flags say --filters=8"),
        (["--resume", "--optimizer=momentum"], "but the flags say --optimizer=momentum"),
        (["--resume", "--model=resnet20"], "but the flags say --model=resnet20"),
        (["--resume", "--schedule=cosine"], "but the flags say --schedule=cosine"),
        (["--resume", "--seed=1"], "has --seed=0, but the flags say --seed=1"),
        (
            ["--resume", "--learning_rate=0.5"],
            "has --learning_rate=0.001, but the flags say --learning_rate=0.5",
        ),
    ],
    ids=lambda value: " ".join(value) or "existing" if isinstance(value, list) else "",
)
def test_another_runs_directory(program, run: Path, digits: Path, flags: list, message: str):
    before = contents(run)
    arguments = flags if flags else [f"--dataset={digits}", *BASE]
    fails(program(f"--workdir={run}", *arguments), message)
    assert contents(run) == before


def no_flags(run: Path) -> None:
    (run / "flags.txt").unlink()


def no_config(run: Path) -> None:
    (run / "config.json").unlink()


def broken_config(run: Path) -> None:
    (run / "config.json").write_text("{")


def flag_of_another_version(run: Path) -> None:
    with (run / "flags.txt").open("a") as file:
        file.write("--color=blue\n")


def bad_value(run: Path) -> None:
    path = run / "flags.txt"
    path.write_text(path.read_text().replace("--epochs=1", "--epochs=one"))


def broken_checkpoint(run: Path) -> None:
    for path in (run / "checkpoints").glob("*.npz"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def another_networks_checkpoint(run: Path) -> None:
    for name in ("flags.txt", "config.json"):
        path = run / name
        path.write_text(
            path.read_text().replace("--hidden=8", "--hidden=9").replace(" 8\n", " 9\n")
        )


def another_dataset_in_its_place(run: Path) -> None:
    path = run / "flags.txt"
    text = path.read_text()
    path.write_text(text.replace("/digits", "/gone"))


@pytest.mark.parametrize(
    "damage, message",
    [
        (no_flags, "--resume found no flags.txt"),
        (no_config, "config.json"),
        (broken_config, "config.json"),
        (flag_of_another_version, "--color"),
        (bad_value, "--epochs=one"),
        (broken_checkpoint, "is damaged: it is not what was written"),
        (another_networks_checkpoint, "is of another network"),
        (another_dataset_in_its_place, "there is no folder"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_resuming_what_is_damaged(program, run: Path, damage: Callable, message: str):
    """By its checksums; and without them, as a run of an older version has none."""
    damage(run)
    fails(program(f"--workdir={run}", "--resume"), str(run))
    (run / storage.SUMS_FILE).unlink()
    fails(program(f"--workdir={run}", "--resume"), message)


@pytest.mark.parametrize("place", ["a file", "a file/run", "empty"])
def test_places_that_cannot_be_a_run(program, digits: Path, tmp_path: Path, place: str):
    (tmp_path / "a file").write_text("")
    (tmp_path / "empty").mkdir()
    resume = program(f"--workdir={tmp_path / place}", "--resume")
    fails(resume, "--resume found no flags.txt")
    if place != "empty":
        fresh = program(f"--dataset={digits}", f"--workdir={tmp_path / place}", *BASE)
        fails(fresh, "--workdir")
