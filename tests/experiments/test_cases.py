"""Small inputs as people really have them: what each is read as, or how it is refused.

The folders lie outside the repository, in $CNN_JAX_CASES or ../shared/cases, and these tests are
left out where they do not. Every folder has its line here.
"""

import functools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import run_program
from saved_runs import train

from experiments import evaluate, predict

ROOT = Path(__file__).parents[2]
CASES = Path(os.environ.get("CNN_JAX_CASES") or ROOT.parent / "shared" / "cases")
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"there are no cases in {CASES}")

HELD_OUT = "20 % of the training pictures are held out as test split"
TEN = ", ".join("0123456789")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

# What the program says of each: what is read, and what else a reader is told.
READ: dict[str, list[str]] = {
    "all_jfif": ["29 train, 7 test, 16x16x3, classes cat, cow, dog", HELD_OUT],
    "backslashes": ["16 train, 4 test, 16x16x3, labels Smiling, Hat"],
    "brackets": ["pets [v2]: 24 train, 8 test, 16x16x1, classes cat [red], dog"],
    "broken_exif": ["28 train, 8 test, 16x16x3, classes cat, dog"],
    "capital_train": ["24 train, 8 test, 16x16x3, classes cat, dog"],
    "case_differs": [
        "24 train, 8 test, 16x16x3, classes Cat, Dog",
        "classes matched in another letter case: cat in test, dog in test",
    ],
    "celeba_csv": ["16 train, 4 test, 16x16x3, labels Smiling, Hat"],
    "checkpoints_in_class": [
        "24 train, 8 test",
        "left out: 5 hidden (train/cat/.ipynb_checkpoints/cat_0-checkpoint.png",
    ],
    "cifar_bin": [
        "100 train, 20 test, 32x32x3, classes airplane, automobile, bird, cat, deer, dog, frog",
        "batches.meta.txt: used as class names",
    ],
    "cmyk": ["25 train, 8 test, 16x16x3"],
    "duplicates": [
        "25 train, 9 test",
        "images of test that are in train too: 1 (test/cat/copy.png is train/cat/cat_00.png)",
        "images that are there again with another label: 1",
    ],
    "emnist_idx": [
        f"104 train, 52 test, 28x28x1, classes {', '.join(LETTERS)}",
        "published with rows and columns exchanged: turned",
    ],
    "flat_test": [
        "19 train, 5 test",
        "test holds 6 pictures without labels: they are for predict",
        "left out: 6 without a label",
        HELD_OUT,
    ],
    "float_tiff": ["25 train, 8 test, 16x16x1", "32-bit values from 0 to 1 became 0 to 255"],
    "floats": ["16 train, 4 test, 16x16x3, labels Smiling, Hat"],
    "folder_named_png": ["25 train, 8 test", "train/cat/scan.png/1.png: used as train cat"],
    "grey_and_alpha": ["16 train, 6 test, 16x16x1, classes a, b"],
    "grey_palette": ["24 train, 8 test, 16x16x1, classes cat, dog"],
    "hf_metadata": ["16 train, 4 test, 16x16x1, classes cat, dog"],
    "junk_files": ["24 train, 8 test", "left out: 9 hidden"],
    "keras_npz": [f"60 train, 30 test, 28x28x1, classes {TEN}"],
    # A label that nothing shows cannot be learned. One picture of `rare` can.
    "label_never_there": [
        "30 train, 8 test, 16x16x1, labels common, rare",
        "no training picture has the label never: left out",
    ],
    "labels_csv_beside_classes": [
        "16 train, 4 test, 16x16x1, classes cat, dog",
        "train/labels.csv says the same as the class folders",
    ],
    "labels_from_one": [
        f"104 train, 52 test, 28x28x1, classes {', '.join(map(str, range(1, 27)))}",
        "labels run from 1 to 26: 26 classes occur",
    ],
    "missing_test_class": ["18 train, 6 test", "classes a, b, c", "test has no picture of c"],
    "mnist_csv": [f"40 train, 20 test, 28x28x1, classes {TEN}"],
    # As before both lines are read; that they contradict each other is said.
    "named_twice": [
        "17 train, 4 test",
        "names 1 picture more than once (train/3.png), 1 of them with different labels",
    ],
    "not_square": ["40 train, 10 test, 24x40x3, classes a, b"],
    "numeric": [f"66 train, 22 test, 16x16x3, classes {TEN}, 10"],
    "odd_modes": ["28 train, 8 test, 16x16x3", "3 with several frames or pages"],
    "one_too_deep": ["24 train, 8 test", "read from pets"],
    "renamed_classes": ["33 train, 33 test, 16x16x1, classes letter_a, letter_b"],
    "roboflow_multilabel": ["12 train, 12 validation, 12 test, 16x16x1, labels hat, smile"],
    "root_classes": ["19 train, 5 test, 16x16x3, classes cat, dog", HELD_OUT],
    "semicolons": ["16 train, 4 test, 16x16x3, labels Smiling, Hat"],
    "single_label_csv": ["16 train, 4 test, 16x16x3, classes cat, dog"],
    "some_single": ["20 train, 5 test", "test has no picture of rare", "classes are uneven: rare"],
    "stray_picture": ["24 train, 8 test", "left out: 1 beside the class folders"],
    "svhn_mat": [f"40 train, 20 test, 32x32x3, classes {TEN}"],
    "train_val": ["19 train, 12 validation, 5 test", HELD_OUT],
    "train_valid_test": ["24 train, 8 validation, 8 test"],
    "twelve_in_sixteen": [
        "24 train, 8 test, 16x16x1",
        "16-bit pictures hold values of up to 11 bits, of which the upper 8 are read",
    ],
    "zipped": ["data: 19 train, 5 test, 16x16x3, classes cat, dog", HELD_OUT],
}
REFUSED: dict[str, str] = {
    "cifar_py": "of the Python version of CIFAR-10, which is pickled",
    # Links were kept as text when the cases were copied; true ones are tested below.
    "dangling_symlink": "cat_99.png cannot be read (link kept as text); --on_error=skip",
    "endings": "iphone.heic cannot be read (it is HEIC, which needs: pip install pillow-heif)",
    "mixed_sizes": "expected an image size to resize them to: --image_size=16 suits",
    "one_class": "has 1 class folders, expected one for each of two or more classes; to tell cat",
    "one_per_class": "has no folder test and too few pictures to hold some out for one",
    "predict_inputs": "has 0 class folders and no table of labels, but 8 pictures",
    "symlinked_class": "cat, dog are links kept as text",
    "truncated": "cat_03.jpg cannot be read (empty file); --on_error=skip",
    "wrong_ending": "page.jpg cannot be read (no picture); --on_error=skip",
}
SKIPPED: dict[str, list[str]] = {
    "dangling_symlink": ["24 train, 8 test", "left out: 1 link kept as text (train/cat/cat_99.png"],
    "endings": ["36 train, 8 test", "train/cat/x: used as train cat", "left out: 1 it is HEIC"],
    "truncated": ["23 train, 8 test", "left out: 1 empty file", "1 truncated JPEG read as viewers"],
    "wrong_ending": ["26 train, 8 test", "left out: 1 no picture (train/dog/page.jpg)"],
}
# They are about flags and runs: test_hostile_flags.py and test_run_alone.py.
NOT_OF_DATA = {"flagfiles", "run_after_data_changed"}
# Of several folders, or trained on.
OTHERWISE = {"numeric_order", "empty_class", "workdir_with_brackets"}


def data_of(case: str) -> Path:
    """The folder of a case that holds its data."""
    (folder,) = (path for path in (CASES / case).iterdir() if path.is_dir())
    return folder


def test_every_case_has_its_line():
    known = READ.keys() | REFUSED.keys() | NOT_OF_DATA | OTHERWISE
    assert {path.name for path in CASES.iterdir()} == known


def says(outcome, texts: list[str]) -> None:
    assert (outcome.code, outcome.err) == (0, "")
    for text in texts:
        assert text in outcome.out


@pytest.mark.parametrize("case", READ)
def test_is_read(program: Callable, case: str):
    says(program(f"--dataset={data_of(case)}", "--list_files"), READ[case])


@pytest.mark.parametrize("case", REFUSED)
def test_is_refused_in_one_line(program: Callable, case: str):
    outcome = program(f"--dataset={data_of(case)}", "--list_files")
    assert (outcome.code, outcome.out) == (2, "")
    assert REFUSED[case] in outcome.err
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize("case", SKIPPED)
def test_bad_pictures_are_left_out_on_request(program: Callable, case: str):
    says(program(f"--dataset={data_of(case)}", "--list_files", "--on_error=skip"), SKIPPED[case])


@pytest.mark.parametrize("how", ["crop", "pad", "stretch"])
def test_mixed_sizes_with_a_size(program: Callable, how: str):
    flags = (f"--dataset={data_of('mixed_sizes')}", "--image_size=16", f"--resize={how}")
    says(program(*flags, "--list_files"), ["25 train, 8 test, 16x16x3"])


def test_true_links_are_followed_and_dangling_ones_named(program: Callable, tmp_path: Path):
    linked = shutil.copytree(data_of("symlinked_class"), tmp_path / "linked")
    for path in (linked / "train").iterdir():
        target = path.read_text()
        path.unlink()
        path.symlink_to(target)
    outcome = program(f"--dataset={linked}", "--list_files")
    says(outcome, ["19 train, 5 test", "elsewhere/cat/cat_00.png: left out: in no split"])
    (linked / "train" / "bird").symlink_to("/nowhere")
    outcome = program(f"--dataset={linked}", "--list_files")
    assert "train/bird cannot be read (link to nothing); --on_error=skip" in outcome.err
    outcome = program(f"--dataset={linked}", "--list_files", "--on_error=skip")
    says(outcome, ["1 link to nothing (train/bird)"])


def test_an_empty_class_is_left_out_and_said(program: Callable, tmp_path: Path):
    folder = shutil.copytree(data_of("empty_class"), tmp_path / "pets")
    (folder / "train" / "wolf").mkdir()
    outcome = program(f"--dataset={folder}", "--list_files")
    says(outcome, ["classes cat, dog", "no pictures in wolf", "1 empty folder (train/wolf)"])


def test_an_outside_set_is_matched_by_name(program: Callable, tmp_path: Path):
    case = CASES / "numeric_order"
    run = train(program, case / "folder", tmp_path / "run")
    evaluated = functools.partial(run_program, evaluate.main, f"--run={run}", "--nopage", "--json")
    own = json.loads(evaluated().out)
    other = json.loads(evaluated(f"--dataset={case / 'idx'}").out)
    assert other["confusion"] == own["confusion"]
    outcome = evaluated(f"--dataset={data_of('renamed_classes')}")
    assert outcome.code == 2
    assert "has the classes letter_a, letter_b" in outcome.err


def test_a_folder_to_predict(program: Callable, tmp_path: Path):
    run = train(program, CASES / "numeric_order" / "folder", tmp_path / "run")
    folder = data_of("predict_inputs")
    outcome = run_program(predict.main, f"--run={run}", "--csv", folder, takes_paths=True)
    assert outcome.code == 0
    paths = [Path(line.partition(",")[0]).name for line in outcome.out.splitlines()[1:]]
    assert paths == ["a0.png", "a1.png", "cmyk.jpg", "noending", "web.jfif"]
    for text in (
        "photo.heic: it cannot be decoded: it is HEIC, which needs: pip install pillow-heif",
        "zero.jpg: the file is empty",
        "dangling.png: it is not a picture",
        ".ipynb_checkpoints/a0-checkpoint.png and 1 other: hidden",
    ):
        assert text in outcome.err


def test_a_run_whose_path_has_brackets(program: Callable, tmp_path: Path):
    run = train(program, data_of("train_valid_test"), tmp_path / "a[1]")
    outcome = program(f"--workdir={run}", "--resume")
    assert (outcome.code, outcome.err) == (0, "")
    outcome = run_program(evaluate.main, f"--run={run}", "--nopage")
    assert (outcome.code, outcome.err) == (0, "")


def test_a_batch_is_capped_and_what_an_epoch_leaves_out_is_said(program: Callable, digits: Path):
    flags = (f"--dataset={digits}", "--filters=4", "--hidden=", "--epochs=1", "--plan")
    outcome = program(*flags, "--batch_size=500")
    assert "batches of 72, not 500: there are 72 training images" in outcome.out
    outcome = program(*flags, "--batch_size=50")
    assert "every epoch leaves out 22 of 72 training images (31%" in outcome.out
    assert "--batch_size=36 leaves out 0" in outcome.out
