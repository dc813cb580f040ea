import json

import pytest
from absl import flags

from benchmarks import contenders, epoch_profile, train_step
from benchmarks.epoch_profile import Event, name_spans, share_time
from cnn_jax.errors import UsageError


def parse(*arguments: str) -> flags.FlagValues:
    values = flags.FlagValues()
    train_step.define_flags(values)
    values(["train_step", *arguments])
    return values


def test_times_and_profiles_lenet5_without_torch(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train_step, "torch_python", lambda: None)
    monkeypatch.setattr(train_step, "TURN_SECONDS", 0.01)
    lenet5 = contenders.NETWORKS["lenet5"]._replace(epoch_steps=2)
    monkeypatch.setitem(contenders.NETWORKS, "lenet5", lenet5)
    path = tmp_path / "numbers.json"

    train_step.main(
        parse("--networks=lenet5", "--rounds=1", "--batch_size=8", "--profile", f"--json={path}")
    )

    printed = capsys.readouterr().out
    assert "pip install 'cnn_jax[bench]'" in printed
    assert "61,706 parameters" in printed
    assert "product, kernel gradient" in printed
    result = json.loads(path.read_text())["networks"]["lenet5"]["float32"]
    assert result["parameters"] == 61_706
    ours, scan, loop = result["contenders"]
    assert scan["speed_of_scan"] == 1
    for row in (ours, scan, loop):
        assert row["turns"] == 1
        assert row["speed_of_torch"] is None
        assert row["images_per_s"] == pytest.approx(8e3 / row["median_ms"])


@pytest.mark.parametrize(
    "flag",
    [
        "--networks=alexnet",
        "--networks=",
        "--precisions=float8",
        "--torch_python=/no/such/python",
        "--json=/no/such/folder/x",
    ],
)
def test_bad_flags_are_one_clear_line(flag):
    with pytest.raises(UsageError, match="^--(networks|precisions|torch_python|json)[^\n]*$"):
        train_step.main(parse(flag))


def test_networks_of_different_size_are_not_compared():
    entrants = [contenders.Contender(f"{size}", size, 1, print) for size in (1, 2)]
    with pytest.raises(AssertionError, match="not the same network"):
        train_step.same_size(entrants)


def test_moments_are_shared_by_operations_in_flight():
    shares = share_time([("a", 0, 10), ("b", 4, 6), ("a", 20, 21), ("c", 20, 21)])
    assert shares == {"a": 9.5, "b": 1, "c": 0.5}


def test_an_operation_ends_where_what_waited_for_it_starts():
    events = [
        Event("dot", "one", 0, 1, True),
        Event("ThunkExecutor::Execute", "two", 8, 15, False),
        Event("add", "two", 8, 14, True),
        Event("end: add", "two", 14, 14, False),
        Event("end: dot", "two", 16, 16, False),
        Event("while", "one", 0, 20, True),
    ]
    assert sorted(name_spans(events, {"while"})) == [("add", 8, 14), ("dot", 0, 8)]


def test_calls_of_onednn_are_products():
    line = '  %call{} = (f32[2]{{0}}) custom-call(%x), custom_call_target="__onednn${}"'
    back = ', metadata={op_name="jit(f)/transpose(jvp())/dot_general"}'
    hlo = "\n".join(
        [
            "%body (x: f32[2]) -> f32[2] {",
            line.format(1, "convolution"),
            line.format(2, "convolution") + back,
            line.format(3, "matmul") + back,
            "}",
        ]
    )
    kinds = [operation.kind for operation in epoch_profile.classify(hlo).values()]
    assert kinds == [
        epoch_profile.FORWARD, epoch_profile.INPUT_GRADIENT, epoch_profile.KERNEL_GRADIENT
    ]  # fmt: skip
