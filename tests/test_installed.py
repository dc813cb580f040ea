"""The package as pip installs it: a wheel, used outside the checkout."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(*command: object, **options: object) -> subprocess.CompletedProcess:
    """Runs a command that knows no other checkout, whatever the shell has in PYTHONPATH."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    options = {"env": environment, **options}
    return subprocess.run([*map(str, command)], capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from what belongs to the package, so that nothing is left in the checkout."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in ("cnn_jax", "experiments"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index")
    done = run(*pip, f"--wheel-dir={built}", source)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that has the wheel, and what it needs from this one."""
    folder = tmp_path_factory.mktemp("environment")
    assert run(sys.executable, "-m", "venv", "--without-pip", folder).returncode == 0
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index")
    done = run(*pip, wheel)
    assert done.returncode == 0, done.stdout + done.stderr
    # A path in a .pth file brings no .pth files of its own: no editable checkout comes along.
    (site,) = folder.glob("lib/*/site-packages")
    (site / "parent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin"


@pytest.fixture
def outside(tmp_path: Path) -> dict[str, object]:
    """A folder with a package `experiments` of its own."""
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__init__.py").write_text("OWN = True\n")
    return {"cwd": tmp_path}


def test_every_package_is_named_in_setup():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    named = set(setup["options"]["packages"].split())
    folders = {
        file.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for name in ("cnn_jax", "experiments")
        for file in (ROOT / name).rglob("*.py")
    }
    assert named == {re.sub("^experiments", "cnn_jax.experiments", name) for name in folders}


def test_the_wheel_has_all_it_needs_and_no_more(wheel: Path):
    assert wheel.stat().st_size < 13e6
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name.split("/")[0] for name in names} <= {
        "cnn_jax",
        wheel.name.split("-py3")[0] + ".dist-info",
    }
    tops = {"cnn_jax": "cnn_jax", "experiments": "cnn_jax/experiments"}
    for top, place in tops.items():
        for file in (ROOT / top).rglob("*"):
            if file.suffix in (".py", ".html", ".js", ".flags", ".npz", ".md", ".typed"):
                assert f"{place}/{file.relative_to(ROOT / top).as_posix()}" in names, file


def test_experiments_is_no_package_of_its_own(installed: Path, outside: dict, tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = run(installed / "python", "-c", "import experiments", **{**outside, "cwd": elsewhere})
    assert done.returncode == 1
    assert "No module named 'experiments'" in done.stderr
    done = run(installed / "python", "-c", "import experiments; print(experiments.OWN)", **outside)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_an_installed_command_trains(installed: Path, outside: dict):
    command = (installed / "cnn_jax", "train", "--preset=mnist", "--epochs=1", "--workdir=run")
    done = run(*command, "--train_examples=2000", **outside)
    assert (done.returncode, done.stderr) == (0, "")
    assert float(re.search(r"test accuracy ([\d.]+)%", done.stdout)[1]) > 80
    assert "repeat it: cnn_jax train --flagfile=run/flags.txt" in done.stdout
    assert (outside["cwd"] / "run" / "report.html").stat().st_size > 100_000


def test_an_installed_command_names_itself(installed: Path, outside: dict):
    done = run(installed / "cnn_jax", **outside)
    assert done.stdout.startswith("usage: cnn_jax COMMAND")
    done = run(installed / "cnn_jax", "ablate", "--help", **outside)
    assert done.stdout.startswith("usage: cnn_jax ablate")
    assert "python -m" not in done.stdout
    done = run(installed / "cnn_jax", "--version", **outside)
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", done.stdout)
