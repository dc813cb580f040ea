"""The simulation of sweeps tests what the sweeps themselves are judged by."""

import numpy as np

from benchmarks import simulated_sweeps, statistics
from cnn_jax.analysis.statistics import (
    LEVEL,
    UNDECIDED,
    compare_sequentially,
    compare_to_baseline,
    look_level,
)


def test_many_tables_at_once_are_judged_as_one_by_one():
    kind = simulated_sweeps.spreads(4)["growing as accuracy falls"]
    accuracies, truth = simulated_sweeps.draw(kind, np.random.default_rng(0), 12, 4, effect=2.0)
    found = simulated_sweeps.by_model(accuracies, truth)
    for table, means, decided, covered in zip(
        accuracies, truth, found.decided, found.covered, strict=True
    ):
        pairs = compare_to_baseline([dict(enumerate(row)) for row in table], 0)[1:]
        assert [pair.p_corrected < LEVEL for pair in pairs] == decided.tolist()
        held = [p.low <= t <= p.high for p, t in zip(pairs, means[1:] - means[0], strict=True)]
        assert held == covered.tolist()


def test_many_tables_until_decided_are_judged_as_one_by_one():
    counts = (3, 5, 8)
    level = look_level(counts, 3)
    accuracies, _ = simulated_sweeps.draw(
        simulated_sweeps.spreads(4)["halves of rows alike"],
        np.random.default_rng(0),
        12,
        8,
        effect=1.5,
    )
    found = simulated_sweeps.until_decided(accuracies, counts, level)
    assert 0 < found.decided.mean() < 1
    for table, decided, seeds in zip(accuracies, found.decided, found.seeds, strict=True):
        groups = [dict(enumerate(row)) for row in table]
        for row, count in enumerate(seeds.astype(int), start=1):
            groups[row] = {seed: groups[row][seed] for seed in range(count)}
        pairs = compare_sequentially(groups, 0, counts, 0.0).pairs[1:]
        assert [pair.p_corrected < LEVEL for pair in pairs] == decided.tolist()
        assert [pair.n for pair in pairs] == seeds.tolist()


def test_errors_and_power_are_about_those_of_the_document():
    rng = np.random.default_rng(0)
    kind = simulated_sweeps.spreads(5)["equal"]
    nothing = simulated_sweeps.draw(kind, rng, 400, 3)
    found = simulated_sweeps.by_model(*nothing)
    assert found.wrong.any(-1).mean() < 0.06
    assert found.covered.all(-1).mean() > 0.93
    something = simulated_sweeps.draw(kind, rng, 200, 3, simulated_sweeps.EFFECTS[3])
    power = [
        test(*something).decided.mean()
        for test in (simulated_sweeps.by_model, simulated_sweeps.by_paired_tests)
    ]
    assert power[0] > 1.8 * power[1]


def test_a_kind_of_sweeps_is_a_row_of_the_table():
    found = statistics.simulated(5, 3, "equal", np.random.default_rng(0), 60)
    assert (found.rows, found.seeds, found.name) == (5, 3, "equal")
    assert found.powers[0] > found.powers[1] > 0
    assert len(found.cells) == 10 and found.cells[-1] == f"{found.powers[0] / found.powers[1]:.2f}"


def test_what_came_out_above_the_level_is_drawn_again():
    name = "two rows five times"
    found = [
        statistics.Simulated(5, 3, name, 0.95, 0.95, (error, 0.05), (0.2, 0.1))
        for error in (0.0504, 0.0506, 0.04)
    ]
    (high,) = statistics.above(found)
    assert high.errors[0] == 0.0506
    row = statistics.again(high, np.random.default_rng(0), 400)
    assert row[:3] == ["5", "3", name]
    assert all(0 < float(share.rstrip("%")) < 10 for share in row[3:])


def test_harsher_sweeps_are_rows_of_their_table():
    (name, *others) = simulated_sweeps.harsher(3)
    row = statistics.harsher_row(3, 5, name, np.random.default_rng(0), 40)
    assert row[:3] == ["3", "5", name] and len(row) == 7
    last = simulated_sweeps.harsher(3)[others[-1]]
    np.testing.assert_allclose(last.deviations(None, 2), 2 * [[0.001, 0.003, 0.009]])


def test_sweeps_with_added_seeds_are_rows_of_their_tables():
    row = statistics.sequential("equal", np.random.default_rng(0), 8)
    assert row[:2] == ["5", "equal"] and 3 <= float(row[-1]) <= 30
    rows = [statistics.anew(until, np.random.default_rng(0), 1) for until in statistics.UNTIL]
    assert [row[0] for row in rows] == ["decided", "replicated"]
    assert all(6 <= float(row[2]) <= 60 for row in rows)


def test_of_chance_no_row_differs():
    seeds, model, before = statistics.of_chance(3, np.random.default_rng(0), 200)
    assert seeds == "3" and max(float(share.rstrip("%")) for share in (model, before)) < 12


def test_twelve_seeds_are_five_rows_of_counts():
    rows = statistics.twelve_seeds()
    assert list(rows) == ["relu", "selu", "gelu", "silu", "mish"]
    assert {len(row) for row in rows.values()} == {12}
    (first, *_) = statistics.replicated(3)
    assert first[:3] == ["3", "selu", "equivalent"]
    verdicts = statistics.paired_verdicts(list(rows.values()))
    assert len(verdicts) == 4 and UNDECIDED in verdicts
