import pytest
from absl import flags

from benchmarks import augmentation, contenders, train_step
from cnn_jax.errors import UsageError


def parse(*arguments: str) -> flags.FlagValues:
    values = flags.FlagValues()
    augmentation.define_flags(values)
    values(["augmentation", *arguments])
    return values


def test_times_lenet5_with_and_without(monkeypatch, capsys):
    monkeypatch.setattr(train_step, "TURN_SECONDS", 0.01)
    lenet5 = contenders.NETWORKS["lenet5"]._replace(epoch_steps=2)
    monkeypatch.setitem(contenders.NETWORKS, "lenet5", lenet5)
    augmentation.main(
        parse("--network=lenet5", "--augment=translate:2", "--rounds=2", "--batch_size=8")
    )
    printed = capsys.readouterr().out
    assert "cnn_jax, translate:2" in printed
    ratios = [float(word) for word in printed.split("ratio")[1].split() if word[0].isdigit()]
    assert len(ratios) == 6 and all(ratio > 0 for ratio in ratios)


@pytest.mark.parametrize("flag", ["--network=alexnet", "--augment=", "--augment=sharpen"])
def test_bad_flags_are_one_clear_line(flag):
    with pytest.raises(UsageError, match=r"^(--)?(network|augment)[^\n]*$"):
        augmentation.main(parse("--network=lenet5", flag))
