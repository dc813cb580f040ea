"""What stands on a command line: presets, commands, and help in the documents' groups."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

import cnn_jax
import experiments
from cnn_jax.studies.run_directory import _environment, environment
from cnn_jax.training import OPTIMIZERS, known_hyperparameters
from experiments import ablation, as_started, command_line, train
from experiments.command_line import GROUPS, PRESETS
from experiments.flags import options

ROOT = Path(__file__).resolve().parents[2]
FLAGS = flags.FLAGS


def started(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "experiments", *arguments],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100"},
        capture_output=True,
        text=True,
    )


def test_commands_are_listed():
    done = started()
    assert (done.returncode, done.stderr) == (0, "")
    for name, (module, meaning) in experiments.COMMANDS.items():
        assert re.search(rf"^  {name} +{meaning}$", done.stdout, re.MULTILINE)
        assert (ROOT / "experiments" / f"{module}.py").is_file()
    assert started("--help").stdout == done.stdout


def test_an_unknown_command_names_the_nearest():
    done = started("trian")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: trian is not one of train, ablate, lr_find, evaluate, predict, explain, export, "
        "walkthrough, runs, compare, gallery; did you mean train?\n"
    )


def test_a_command_is_its_program():
    done = started("ablate", "--vary=activation=relu,tanh", "--model=lenet")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --model=lenet is not one of airnet, ")
    assert len(done.stderr.splitlines()) == 1


def test_a_preset_is_its_flagfile(program, elsewhere: Path, monkeypatch: pytest.MonkeyPatch):
    given = []
    monkeypatch.setattr(train, "begin", lambda *_: given.append(options.given()) or sys.exit())
    file = PRESETS / "mnist.flags"
    for start in (["--preset=mnist"], ["--preset", "mnist"], [f"--flagfile={file}"]):
        assert program("--seed=3", *start, "--epochs=1").code == 0
    assert given[0] == given[1] == given[2]
    assert (given[0]["batch_size"], given[0]["epochs"], given[0]["seed"]) == (64, 1, 3)
    assert "preset" not in given[0]


def test_presets_are_listed_for_the_programs_that_take_them(program, sweep):
    names = {path.stem for path in PRESETS.glob("*.flags")}
    for outcome, expected in (
        (program("--preset=help"), {name for name in names if not name.startswith("ablation")}),
        (sweep("--preset=help"), names),
    ):
        assert (outcome.code, outcome.err) == (0, "")
        assert {line.split()[0] for line in outcome.out.splitlines()} == expected
    assert "MNIST in a quarter of a minute" in outcome.out


def test_programs_without_presets_refuse_them(elsewhere: Path):
    done = started("predict", "--preset=mnist", "picture.png")
    assert done.returncode == 2
    assert "--preset" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture(scope="module")
def helped() -> dict[str, str]:
    """The help of train by group."""
    done = started("train", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    headings = re.split(r"^(\w+):$", done.stdout, flags=re.MULTILINE)
    return dict(zip(headings[1::2], headings[2::2], strict=True))


def test_help_has_the_groups_of_the_documents(helped: dict[str, str]):
    assert list(helped) == [group for group in GROUPS if group not in ("sweep", "scan")]
    chosen = (ROOT / "docs/runs.md").read_text()
    rows = re.findall(r"^\| (?:the )?(\w+) \| ((?:`--\w+`[ .]*)+)\|", chosen, re.MULTILINE)
    assert [group for group, _ in rows] == list(helped)
    for group, cells in rows:
        for name in re.findall(r"`--(\w+)`", cells):
            assert re.search(rf"^  --(\[no\])?{name}$", helped[group], re.MULTILINE), name


def test_help_shows_every_flag_once_with_its_default(helped: dict[str, str]):
    whole = "".join(helped.values())
    for flag in FLAGS.get_key_flags_for_module(train.__name__):
        entries = re.findall(
            rf"^  --(?:\[no\])?{flag.name}$\n((?:^      .*\n)+)", whole, re.MULTILINE
        )
        assert len(entries) == 1, flag.name
        assert re.search(r"Default:\s+\S", entries[0]), flag.name
    assert "pdb" not in whole


def test_help_shows_hyperparameters_by_what_reads_them(helped: dict[str, str]):
    text = " ".join(helped["optimizer"].split())
    (rates,) = re.findall(r"--learning_rate .*? Default: (.*?)\. --", text)
    for name, optimizer in OPTIMIZERS.items():
        (value,) = re.findall(rf"([\d.e-]+) \([^()]*\b{name}\b", rates)
        assert float(value) == optimizer.learning_rate
    assert "0.2 (one_cycle, warmup_cosine)" in text
    assert known_hyperparameters().keys() - {"dropout_rate"} == set(
        re.findall(r"--(\w+)\s+Hyperparameter", helped["optimizer"] + helped["loss"])
    )


def test_help_of_a_sweep_begins_with_what_it_adds():
    text = command_line.help_text(ablation.__name__)
    assert text.index("\nsweep:\n") < text.index("\ndata:\n")
    assert "python -m experiments.ablation" in text
    assert "May be repeated. Default: not given." in " ".join(text.split())


def test_installed_a_command_is_named_as_typed(monkeypatch: pytest.MonkeyPatch):
    assert experiments.command("ablation") == "python -m experiments.ablation"
    monkeypatch.setattr(experiments, "__name__", "cnn_jax.experiments")
    assert experiments.command("ablation") == "cnn_jax ablate"
    assert "`cnn_jax ablate`" in command_line.help_text(ablation.__name__)


def test_environment_names_code_and_processor(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/experiments/train.py", "--dataset=my set"])
    found = environment(as_started())
    assert found["command"] == "python -m experiments.train '--dataset=my set'"
    assert found["processor"] and found["cores"] == str(len(os.sched_getaffinity(0)))
    if (ROOT / ".git").exists():
        assert re.fullmatch(r"[0-9a-f]{40}", found["commit"])
        assert found["changed"] in ("yes", "no")


def test_code_that_no_repository_holds_has_no_commit(tmp_path: Path, monkeypatch):
    """Nor that of a repository in whose folder it happens to lie."""

    def in_a_new_process() -> dict[str, str]:
        _environment._commit.cache_clear()
        return environment(as_started())

    (tmp_path / "cnn_jax").mkdir()
    (tmp_path / "cnn_jax" / "__init__.py").touch()
    monkeypatch.setattr(cnn_jax, "__file__", str(tmp_path / "cnn_jax" / "__init__.py"))
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    assert "commit" not in in_a_new_process()
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "empty"], check=True)
    assert "commit" not in in_a_new_process()
    subprocess.run([*git, "add", "cnn_jax"], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "code"], check=True)
    assert in_a_new_process()["changed"] == "no"
    (tmp_path / "cnn_jax" / "__init__.py").write_text("changed = True\n")
    # What runs is what was there when it began.
    assert environment(as_started())["changed"] == "no"
    assert in_a_new_process()["changed"] == "yes"
