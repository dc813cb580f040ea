"""Guesses on pictures of every kind, for people and for programs."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps
from saved_runs import starter, train

from experiments import predict


@pytest.fixture(scope="module")
def trained(program, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(program, digits, tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def guess(program, trained: Path):
    """Runs the program on that run."""
    start = starter(program, predict.main, takes_paths=True)
    return lambda *arguments: start(f"--run={trained}", *arguments)


def pattern(label: int, size: int = 8, ground: int = 80, ink: int = 160) -> Image.Image:
    """What the classes of the tiny digits are: one quadrant lighter than the others."""
    pixels = np.full((size, size), ground, np.uint8)
    half = size // 2
    top, left = half * (label // 2), half * (label % 2)
    pixels[top : top + half, left : left + half] = ink
    return Image.fromarray(pixels)


def wide(label: int) -> Image.Image:
    return ImageOps.expand(pattern(label, 40), (30, 0), 80)


def colored(label: int) -> Image.Image:
    return ImageOps.colorize(pattern(label, 50), (0, 0, 40), (255, 250, 160))


def transparent(label: int) -> Image.Image:
    alpha = pattern(label, 30, ground=0, ink=255)
    picture = Image.new("RGBA", alpha.size, (40, 0, 0, 0))
    picture.putalpha(alpha)
    return picture


def palette(label: int) -> Image.Image:
    return colored(label).quantize(8)


def sixteen_bit(label: int) -> Image.Image:
    return Image.fromarray(np.asarray(pattern(label, 20)).astype(np.uint16) * 257)


def dark_on_light(label: int) -> Image.Image:
    return pattern(label, 100, ground=255, ink=40)


def one_bit(label: int) -> Image.Image:
    return pattern(label, 24, ground=0, ink=255).convert("1")


def gray_and_alpha(label: int) -> Image.Image:
    return pattern(label, 12, ground=60, ink=200).convert("LA")


def tall(label: int) -> Image.Image:
    return ImageOps.expand(pattern(label, 33), (0, 9), 80)


def cmyk(label: int) -> Image.Image:
    return colored(label).convert("CMYK")


def lab(label: int) -> Image.Image:
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    return ImageCms.applyTransform(pattern(label, 40).convert("RGB"), to_lab)


PICTURES = {
    "same.png": pattern,
    "wide.bmp": wide,
    "colored.png": colored,
    "transparent.png": transparent,
    "palette.gif": palette,
    "sixteen.png": sixteen_bit,
    "dark.jpg": dark_on_light,
    "bit.tiff": one_bit,
    "alpha.png": gray_and_alpha,
    "tall.webp": tall,
    "cmyk.jpg": cmyk,
    "lab.tiff": lab,
}


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """A folder for each class, with a picture of each kind, and photographs taken sideways."""
    album = tmp_path / "album"
    for label in range(4):
        folder = album / str(label)
        folder.mkdir(parents=True)
        for name, draw in PICTURES.items():
            draw(label).save(folder / name)
        for orientation, turn in (
            (3, Image.Transpose.ROTATE_180),
            (6, Image.Transpose.ROTATE_90),
            (8, Image.Transpose.ROTATE_270),
        ):
            exif = Image.Exif()
            exif[0x0112] = orientation
            lying = pattern(label, 64).transpose(turn)
            lying.save(folder / f"lying{orientation}.jpg", exif=exif)
    return album


def test_pictures_of_every_kind_are_guessed_right(guess, album: Path):
    outcome = guess(album, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    records = json.loads(outcome.out)
    assert len(records) == 4 * (len(PICTURES) + 3)
    wrong = [r["path"] for r in records if r["guesses"][0]["class"] != r["label"]]
    assert wrong == []
    inverted = {Path(record["path"]).name for record in records if record["inverted"]}
    assert inverted == {"dark.jpg", "transparent.png"}
    for record in records:
        assert Path(record["path"]).parent.name == record["label"]
        assert len(record["guesses"]) == 4
        probabilities = [each["probability"] for each in record["guesses"]]
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert probabilities == sorted(probabilities, reverse=True)


def test_csv_has_a_line_for_each_picture(guess, album: Path, tmp_path: Path):
    picture = tmp_path / 'comma, quote".png'
    pattern(2).save(picture)
    outcome = guess("--csv", "--top=2", album / "3" / "same.png", picture)
    assert (outcome.code, outcome.err) == (0, "")
    first, second = csv.DictReader(io.StringIO(outcome.out))
    assert first["label"] == first["guess_1"] == "3"
    assert second["path"] == str(picture)
    assert second["label"] == ""
    assert second["guess_1"] == "2"
    assert float(second["probability_1"]) > float(second["probability_2"])
    assert "guess_3" not in first
    assert {row["unlike_training"] for row in (first, second)} <= {"True", "False"}


def test_a_truncated_picture_is_guessed_and_said_to_be_so(guess, tmp_path: Path):
    whole, cut = tmp_path / "whole.jpg", tmp_path / "cut.jpg"
    pattern(1, 512).save(whole)
    cut.write_bytes(whole.read_bytes()[:-200])
    outcome = guess(whole, cut)
    first, second = (part for part in outcome.out.split("\n\n") if ".jpg" in part)
    assert "truncated:" not in first
    assert "truncated: gray stands for what is missing" in second
    told = {Path(r["path"]).name: r["truncated"] for r in json.loads(guess(tmp_path, "--json").out)}
    assert told == {"whole.jpg": False, "cut.jpg": True}
    rows = csv.DictReader(io.StringIO(guess(tmp_path, "--csv").out))
    assert [row["truncated"] for row in rows] == ["True", "False"]


def test_people_get_bars_and_a_drawing(guess, album: Path, tmp_path: Path):
    drawing = tmp_path / "guesses.png"
    outcome = guess(album / "1" / "dark.jpg", f"--picture={drawing}", "--top=2")
    assert (outcome.code, outcome.err) == (0, "")
    heading, first, second, *_ = outcome.out.splitlines()
    assert heading.endswith("dark.jpg  true class 1; light and dark exchanged")
    assert first.split()[0] == "1"
    assert len(first.split()[1]) > 15
    assert second.endswith("%")
    with Image.open(drawing) as picture:
        assert min(picture.size) > 200


def test_many_pictures_have_a_line_each_and_a_sum(guess, album: Path):
    outcome = guess(album)
    assert outcome.code == 0
    count = 4 * (len(PICTURES) + 3)
    assert len(outcome.out.splitlines()) == count + 1
    assert f"{count} of {count} whose class is known are right: 100.00%" in outcome.out


def test_batches_are_streamed(guess, album: Path, monkeypatch: pytest.MonkeyPatch):
    whole = guess(album, "--json")
    monkeypatch.setattr(predict, "BATCH", 8)
    parts = guess(album, "--json")
    ours, theirs = json.loads(whole.out), json.loads(parts.out)
    assert [each["path"] for each in ours] == [each["path"] for each in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one["guesses"][0]["class"] == other["guesses"][0]["class"]
        best = other["guesses"][0]["probability"]
        assert one["guesses"][0]["probability"] == pytest.approx(best, rel=1e-4)


def test_inverting_can_be_told(guess, album: Path):
    dark = album / "2" / "dark.jpg"
    told, kept = (
        json.loads(guess("--json", f"--invert={how}", dark).out)[0] for how in ("yes", "no")
    )
    assert told["inverted"] and told["guesses"][0]["class"] == "2"
    assert not kept["inverted"]


def test_outputs_that_are_no_probabilities_are_not_called_so(
    program, digits: Path, tmp_path: Path, album: Path
):
    run = train(program, digits, tmp_path / "hinge", "--loss=hinge")
    start = starter(program, predict.main, takes_paths=True)
    outcome = start(f"--run={run}", album / "1" / "same.png")
    assert outcome.code == 0
    assert "hinge, does not make its outputs probabilities" in outcome.out
    (record,) = json.loads(start(f"--run={run}", album / "1" / "same.png", "--json").out)
    assert record["calibrated"] is False


def test_bad_files_among_good_ones_are_told_and_left_out(guess, album: Path, tmp_path: Path):
    folder = album / "0"
    (folder / "broken.png").write_text("not a picture")
    half = (folder / "colored.png").read_bytes()
    (folder / "half.png").write_bytes(half[: len(half) // 2])
    outcome = guess(folder, tmp_path / "missing.png", "--json")
    assert outcome.code == 0
    assert len(json.loads(outcome.out)) == len(PICTURES) + 3
    lines = outcome.err.splitlines()
    assert len(lines) == 3
    assert "broken.png: it is not a picture" in lines[0]
    assert "half.png: it cannot be decoded" in lines[1]
    assert "missing.png: there is no such file" in lines[2]


def test_frames_behind_the_first_are_said_to_be_left_out(guess, tmp_path: Path):
    first, second = pattern(1, 9), pattern(0, 9)
    for name in ("a.gif", "b.webp"):
        first.save(tmp_path / name, save_all=True, append_images=[second])
    first.save(tmp_path / "c.png")
    outcome = guess(tmp_path / "a.gif", tmp_path / "b.webp", tmp_path / "c.png", "--json")
    (line,) = outcome.err.splitlines()
    assert line == f"left out all frames or pages of {tmp_path}/a.gif and 1 other but the first"
    assert len(json.loads(outcome.out)) == 3


def not_a_picture(folder: Path) -> list:
    (folder / "notes.png").write_text("notes")
    return [folder / "notes.png"]


def cut_short(folder: Path) -> list:
    pattern(1, 200).save(folder / "cut.png")
    content = (folder / "cut.png").read_bytes()
    (folder / "cut.png").write_bytes(content[: len(content) // 2])
    return [folder / "cut.png"]


def nothing(folder: Path) -> list:
    return [folder / "gone.png"]


def empty_folder(folder: Path) -> list:
    (folder / "empty").mkdir()
    return [folder / "empty"]


def empty_file(folder: Path) -> list:
    (folder / "void.png").touch()
    return [folder / "void.png"]


def floats(folder: Path) -> list:
    Image.fromarray(np.zeros((8, 8), np.float32)).save(folder / "floats.tiff")
    return [folder / "floats.tiff"]


def archive(folder: Path) -> list:
    (folder / "set.zip").touch()
    return [folder / "set.zip"]


def empty_name(folder: Path) -> list:
    return [""]


def no_paths(folder: Path) -> list:
    return []


@pytest.mark.parametrize(
    "make, flags, message",
    [
        (not_a_picture, [], "notes.png: it is not a picture"),
        (cut_short, [], "cut.png: it cannot be decoded"),
        (nothing, [], "gone.png: there is no such file"),
        (empty_folder, [], "empty: the folder has no pictures"),
        (empty_file, [], "void.png: the file is empty"),
        (archive, [], "set.zip: it is an archive; unpack it and give the folder"),
        (empty_name, [], "the name of a picture is empty"),
        (floats, [], "floats.tiff: it cannot be decoded: its pixels are 32-bit"),
        (no_paths, [], "give pictures, or folders of pictures"),
        (nothing, ["--json", "--csv"], "--json and --csv are two formats"),
        (nothing, ["--picture=guesses.doc"], "--picture=guesses.doc must end in .pdf, .png, .svg"),
        (nothing, ["--picture=no/guesses.png"], "there is no folder no"),
        (nothing, ["--top=0"], "--top=0"),
        (nothing, ["--split=train"], "--split has no effect here"),
        (nothing, ["--invert=maybe"], "--invert=maybe is not one of auto, yes, no"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_bad_input_is_one_line(guess, tmp_path: Path, make, flags: list[str], message: str):
    outcome = guess(*make(tmp_path), *flags)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("error: ")
    assert len(outcome.err.splitlines()) == 1
    assert message in outcome.err


def test_several_bad_files_are_told_each(guess, tmp_path: Path):
    outcome = guess(*not_a_picture(tmp_path), *nothing(tmp_path), "--json")
    assert (outcome.code, outcome.out) == (2, "")
    *each, last = outcome.err.splitlines()
    assert len(each) == 2
    assert last == "error: none of 2 pictures could be read"


def test_from_the_command_line_into_a_pipe_that_closes(
    trained: Path, album: Path, environment: dict
):
    command = [sys.executable, "-m", "experiments.predict", f"--run={trained}", "--csv"]
    files = [str(album / "0" / "same.png"), str(album / "1" / "same.png")]
    done = subprocess.run(
        ["bash", "-c", '"$@" | head -c 5', "-", *command, *files * 40],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "path,", "")
