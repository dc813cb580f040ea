from benchmarks import draws


def test_compiles_the_same_draws_twice(monkeypatch, capsys):
    monkeypatch.setattr(draws, "_NETWORKS", {"lenet5": (28, 28, 1)})
    monkeypatch.setattr(draws, "_TRIALS", 2)
    draws.main([])
    (row,) = (line for line in capsys.readouterr().out.splitlines() if "lenet5" in line)
    _, *seconds = row.strip().strip("|").split("|")
    assert len(seconds) == 4 and all(float(each) >= 0 for each in seconds)
