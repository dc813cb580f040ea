"""Are the verdicts of a sweep right, and how many of the true differences do they find?

`python -m benchmarks.statistics` prints docs/statistics.md: simulated sweeps of which the truth is
known, with equal, unequal and trending spreads, and real ones, drawn from twelve seeds of five
activations (`twelve_seeds.csv`). Beside the model stands the test that came before it: paired
t-tests, each of its own variance, corrected by Holm.
"""

import csv
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import app, flags
from jaxtyping import Bool, Float
from scipy import special

from cnn_jax.analysis.statistics import (
    BETTER,
    LEVEL,
    UNDECIDED,
    WORSE,
    compare_sequentially,
    compare_to_baseline,
    look_level,
    looks,
    mean_over_seeds,
    moderate,
    step_down,
    two_sided_p,
)
from cnn_jax.display import listed
from cnn_jax.studies.rounds import REPLICATED, UNTIL

FLAGS = flags.FLAGS
flags.DEFINE_integer("tables", 10_000, "Simulated sweeps for each number.", lower_bound=1)
flags.DEFINE_integer("random_seed", 0, "Of the draws.")
# The sweep that the file is of, README's own at its learning rate.
TWELVE_SEEDS = Path(__file__).with_name("twelve_seeds.csv")
COMMAND = (
    "python -m experiments.ablation --dataset=mnist --train_examples=6000 "
    "--validation_fraction=0.05 --model=lenet5 --vary=activation=relu,selu,gelu,silu,mish "
    "--learning_rate=0.01 --optimizer=adam --schedule=one_cycle --epochs=4 --seeds=12"
)
_TEST_EXAMPLES = 10_000
# The true difference by the number of seeds, in standard deviations of the paired differences. That
# of three seeds is the one of mish and relu in the twelve.
EFFECTS = {3: 1.75, 5: 1.2, 10: 0.8}
# So many tables at once: every one has hundreds of hypotheses a row.
_BATCH = 250


class Spreads(NamedTuple):
    """How much the rows of simulated sweeps vary from seed to seed.

    Attributes:
        accuracies: of each row, the baseline first.
        deviations: `(generator, tables) -> standard deviations` of each table's rows.
        shared: how much the rows of either half have in common at a seed, beside what all have.
    """

    accuracies: Float[np.ndarray, "rows"]
    deviations: Callable[[np.random.Generator, int], Float[np.ndarray, "tables rows"]]
    shared: float = 0.0


def spreads(rows: int) -> dict[str, Spreads]:
    """The simulated kinds of sweeps, of so many rows."""
    same = np.full(rows, 0.97)
    falling = np.linspace(0.98, 0.9, rows)

    def fixed(*factors: tuple[int | slice, float]) -> Callable:
        deviations = np.full(rows, 0.001)
        for place, factor in factors:
            deviations[place] *= factor
        return lambda rng, tables: np.broadcast_to(deviations, (tables, rows))

    def scattered(rng: np.random.Generator, tables: int) -> np.ndarray:
        return 0.001 * np.exp(rng.normal(0.0, 0.6, (tables, rows)))

    trend = 0.04 * falling * (1 - falling)
    return {
        "equal": Spreads(same, fixed()),
        "one row twice": Spreads(same, fixed((1, 2.0))),
        "one row three times": Spreads(same, fixed((1, 3.0))),
        "half of the rows three times": Spreads(same, fixed((slice(rows // 2, None), 3.0))),
        "the baseline twice": Spreads(same, fixed((0, 2.0))),
        "scattered (log-normal, 0.6)": Spreads(same, scattered),
        "growing as accuracy falls": Spreads(
            falling, lambda rng, tables: np.broadcast_to(trend, (tables, rows))
        ),
        "two rows five times": Spreads(same, fixed((slice(1, 3), 5.0))),
        "halves of rows alike": Spreads(same, fixed(), shared=0.001),
    }


def draw(
    kind: Spreads, rng: np.random.Generator, tables: int, seeds: int, effect: float = 0.0
) -> tuple[Float[np.ndarray, "tables rows seeds"], Float[np.ndarray, "tables rows"]]:
    """Accuracies of simulated sweeps, and the true means of their rows.

    Args:
        kind: of the rows.
        rng: draws.
        tables: how many sweeps.
        seeds: of each.
        effect: how much better than the baseline every row is, in standard deviations of the
            paired differences, in addition to the kind's own differences.
    """
    deviations = kind.deviations(rng, tables)
    truth = np.broadcast_to(kind.accuracies, deviations.shape).copy()
    paired = np.hypot(deviations[:, 1:], deviations[:, :1])
    truth[:, 1:] += effect * paired
    blocks = rng.normal(0.0, 0.001, (tables, 1, seeds))
    errors = rng.normal(size=(tables, len(kind.accuracies), seeds)) * deviations[..., None]
    halves = kind.shared * rng.normal(size=(tables, 2, seeds))
    blocks = blocks + halves[:, np.arange(len(kind.accuracies)) * 2 // len(kind.accuracies)]
    return truth[..., None] + blocks + errors, truth


class Tested(NamedTuple):
    """What a test says of simulated sweeps, against their truth.

    Attributes:
        decided: which comparisons it finds, of what differs or not.
        wrong: which it finds if the truth is no difference.
        covered: which intervals hold the true difference.
    """

    decided: Bool[np.ndarray, "tables rows"]
    wrong: Bool[np.ndarray, "tables rows"]
    covered: Bool[np.ndarray, "tables rows"] | None


def by_model(accuracies: np.ndarray, truth: np.ndarray) -> Tested:
    """The model of the project: that of `compare_to_baseline`, of many tables at once."""
    parts = [
        _by_model(accuracies[first : first + _BATCH], truth[first : first + _BATCH])
        for first in range(0, len(accuracies), _BATCH)
    ]
    return Tested(*map(np.concatenate, zip(*parts, strict=True)))


def _by_model(accuracies: np.ndarray, truth: np.ndarray) -> Tested:
    differences = accuracies[:, 1:] - accuracies[:, :1]
    seeds = np.full(differences.shape[1], differences.shape[2])
    means = differences.mean(-1)
    others = list(range(1, accuracies.shape[1]))
    spread = moderate(accuracies).of_differences(others, [0] * len(others))
    errors = means - (truth[:, 1:] - truth[:, :1])

    found, levels = step_down(two_sided_p(spread, means, seeds), LEVEL)
    of_errors = two_sided_p(spread, errors, seeds)
    wrong, _ = step_down(of_errors, LEVEL)
    return Tested(found < LEVEL, wrong < LEVEL, of_errors >= levels)


def by_paired_tests(accuracies: np.ndarray, truth: np.ndarray) -> Tested:
    """What came before: paired t-tests, each of its own variance, corrected by Holm."""
    differences = accuracies[:, 1:] - accuracies[:, :1]
    seeds = np.full(differences.shape[1], differences.shape[2])
    means, variances = differences.mean(-1), differences.var(-1, ddof=1)
    errors = means - (truth[:, 1:] - truth[:, :1])
    found, wrong = (holm(student_p(variances, of, seeds)) < LEVEL for of in (means, errors))
    return Tested(found, wrong, None)


def student_p(variances: np.ndarray, means: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Two-sided p of paired t-tests, from the moments of the differences."""
    return 2 * special.stdtr(seeds - 1, -np.abs(means) / np.sqrt(variances / seeds))


def holm(p: Float[np.ndarray, "... rows"]) -> Float[np.ndarray, "... rows"]:
    """P corrected for their number, step down: Holm, Scand. J. Statist. 6, 1979."""
    order = np.argsort(p, axis=-1, kind="stable")
    steps = np.arange(p.shape[-1], 0, -1) * np.take_along_axis(p, order, -1)
    corrected = np.minimum(np.maximum.accumulate(steps, -1), 1.0)
    return np.take_along_axis(corrected, np.argsort(order, axis=-1), -1)


class Looked(NamedTuple):
    """What comes of adding seeds until rows are decided.

    Attributes:
        decided: which rows are, as different from the baseline.
        seeds: of each row at the end.
    """

    decided: Bool[np.ndarray, "tables rows"]
    seeds: Float[np.ndarray, "tables rows"]


def until_decided(accuracies: np.ndarray, counts: Sequence[int], level: float) -> Looked:
    """Rows are looked at after so many seeds; those that are decided get no more."""
    parts = [
        _until_decided(accuracies[first : first + _BATCH], counts, level)
        for first in range(0, len(accuracies), _BATCH)
    ]
    return Looked(*map(np.concatenate, zip(*parts, strict=True)))


def _until_decided(accuracies: np.ndarray, counts: Sequence[int], level: float) -> Looked:
    others = list(range(1, accuracies.shape[1]))
    decided = np.zeros((len(accuracies), len(others)), bool)
    seeds = np.full(decided.shape, float(counts[0]))
    for count in counts:
        seeds = np.where(decided, seeds, count)
        seen = accuracies[..., :count].copy()
        seen[:, 1:][np.arange(count) >= seeds[..., None]] = np.nan
        means = np.nanmean(seen[:, 1:] - seen[:, :1], -1)
        spread = moderate(seen).of_differences(others, [0] * len(others))
        p = np.where(decided, 0.0, two_sided_p(spread, means, seeds))
        decided = decided | (step_down(p, level)[0] < level)
    return Looked(decided, seeds)


LOOKS = (3, 30)
LOOKS_ANEW = (6, 60)


def sequential(rng: np.random.Generator, tables: int) -> Iterator[list[str]]:
    """Rows of the table of simulated sweeps whose seeds are added until rows are decided."""
    counts, rows = looks(*LOOKS), 5
    level = look_level(counts, rows - 1)
    for name, kind in spreads(rows).items():
        nothing, _ = draw(kind, rng, tables, counts[-1])
        even = kind._replace(accuracies=kind.accuracies[:1].repeat(rows))
        nothing -= (kind.accuracies - even.accuracies)[:, None]
        something, _ = draw(even, rng, tables // 2, counts[-1], EFFECTS[10])
        found = until_decided(something, counts, level)
        yield [
            *(str(rows), name),
            _percent(until_decided(nothing, counts, level).decided.any(-1).mean()),
            _percent(until_decided(nothing, counts, LEVEL).decided.any(-1).mean()),
            _percent(found.decided.mean()),
            f"{found.seeds.mean():.1f}",
        ]


def anew(rng: np.random.Generator, tables: int) -> Iterator[list[str]]:
    """Rows of the table of what a new study says of rows whose seeds were added."""
    counts, rows = looks(*LOOKS_ANEW), 5
    kind = spreads(rows)["equal"]
    drawn, _ = draw(kind, rng, tables, 2 * counts[-1], EFFECTS[10])
    for until in UNTIL:
        same, used, settled = [], [], 0
        for table in drawn:
            study, other = (
                [dict(enumerate(row)) for row in half] for half in np.split(table, 2, axis=-1)
            )
            found = compare_sequentially(study, 0, counts, replicated=until == REPLICATED)
            settled += rows - 1 - len(found.open)
            for row, pair in enumerate(found.pairs):
                if pair is None or row in found.open:
                    continue
                again = [{seed: values[seed] for seed in range(pair.n)} for values in other]
                new = compare_to_baseline(again, 0, sign_flips=False)[row]
                same.append(new is not None and new.verdict == pair.verdict)
                used.append(pair.n)
        share = settled / (len(drawn) * (rows - 1))
        yield [until, _percent(share), f"{np.mean(used):.1f}", _percent(float(np.mean(same)))]


class Simulated(NamedTuple):
    """What is found in simulated sweeps of one kind; shares, of the model and of what came before.

    Attributes:
        rows: of each sweep.
        seeds: of each row.
        name: of the kind.
        of_means: intervals of rows' means that hold the true one.
        of_differences: sweeps in which the intervals of all differences do.
        errors: sweeps with a difference that there is none of.
        powers: differences that are found, of those that there are.
    """

    rows: int
    seeds: int
    name: str
    of_means: float
    of_differences: float
    errors: tuple[float, float]
    powers: tuple[float, float]

    @property
    def cells(self) -> list[str]:
        """As a row of the table."""
        shares = map(_percent, (self.of_means, self.of_differences, *self.errors, *self.powers))
        ratio = self.powers[0] / self.powers[1]
        return [str(self.rows), str(self.seeds), self.name, *shares, f"{ratio:.2f}"]


def simulated(rng: np.random.Generator, tables: int) -> Iterator[Simulated]:
    """Sweeps of every kind."""
    for rows, seeds in itertools.product((5, 14), (3, 5, 10)):
        for name, kind in spreads(rows).items():
            nothing = draw(kind, rng, tables, seeds)
            model, before = by_model(*nothing), by_paired_tests(*nothing)
            assert model.covered is not None
            level = kind._replace(accuracies=kind.accuracies[:1].repeat(rows))
            something = draw(level, rng, tables // 2, seeds, EFFECTS[seeds])
            yield Simulated(
                *(rows, seeds, name, _mean_coverage(*nothing)),
                float(model.covered.all(-1).mean()),
                (_error(model), _error(before)),
                (_power(by_model(*something)), _power(by_paired_tests(*something))),
            )


def _error(found: Tested) -> float:
    """In how many sweeps a difference is found where there is none."""
    return float(found.wrong.any(-1).mean())


def _power(found: Tested) -> float:
    """How many of the differences are found."""
    return float(found.decided.mean())


def again(found: Iterable[Simulated], rng: np.random.Generator, tables: int) -> Iterator[list[str]]:
    """The errors that came out above the level, in other and more tables."""
    for each in found:
        if round(each.errors[0], 3) > LEVEL:
            nothing = draw(spreads(each.rows)[each.name], rng, tables, each.seeds)
            errors = (_error(test(*nothing)) for test in (by_model, by_paired_tests))
            yield [*each.cells[:3], *map(_percent, errors)]


def _mean_coverage(accuracies: np.ndarray, truth: np.ndarray) -> float:
    """How many of the rows' own intervals hold the true mean."""
    held = []
    for table, means in zip(accuracies[:2000], truth, strict=False):
        for row, mean in zip(table, means, strict=True):
            found = mean_over_seeds(np.clip(row, 0.0, 1.0).tolist())
            assert found.low is not None and found.high is not None
            held.append(found.low <= mean <= found.high)
    return float(np.mean(held))


def twelve_seeds() -> dict[str, dict[int, float]]:
    """Accuracies by activation and seed, the baseline relu first."""
    with TWELVE_SEEDS.open() as file:
        rows = list(csv.DictReader(file))
    return {
        row["activation"]: {
            seed: int(row[f"seed_{seed}"]) / _TEST_EXAMPLES for seed in range(len(row) - 1)
        }
        for row in rows
    }


Compare = Callable[[Sequence[Mapping[int, float]]], list[str]]


def model_verdicts(groups: Sequence[Mapping[int, float]]) -> list[str]:
    """The verdict of the model on every row but the first, which is the baseline."""
    return [pair.verdict for pair in compare_to_baseline(groups, 0) if pair]


def paired_verdicts(groups: Sequence[Mapping[int, float]]) -> list[str]:
    """The verdict of paired t-tests on every row but the first."""
    baseline, *rows = (np.array([row[seed] for seed in sorted(row)]) for row in groups)
    differences = np.array(rows) - baseline
    seeds = np.full(len(rows), differences.shape[1])
    means = differences.mean(-1)
    p = holm(student_p(differences.var(-1, ddof=1), means, seeds))
    signs = np.where(means > 0, BETTER, WORSE)
    return np.where(p < LEVEL, signs, UNDECIDED).tolist()


def subsets(seeds: int) -> Iterator[list[dict[int, float]]]:
    """The twelve seeds' rows at every choice of so many of them."""
    groups = list(twelve_seeds().values())
    for chosen in itertools.combinations(sorted(groups[0]), seeds):
        yield [{seed: row[seed] for seed in chosen} for row in groups]


def replicated(seeds: int) -> Iterator[list[str]]:
    """What so many seeds say of each row, against what twelve say."""
    names, truth = list(twelve_seeds())[1:], model_verdicts(list(twelve_seeds().values()))
    of_both = [
        np.array([say(g) for g in subsets(seeds)]) for say in (model_verdicts, paired_verdicts)
    ]
    for row, (name, verdict) in enumerate(zip(names, truth, strict=True)):
        said = [verdicts[:, row] for verdicts in of_both]
        contradicted = [(verdicts != verdict) & (verdicts != UNDECIDED) for verdicts in said]
        yield [
            *(str(seeds), name, verdict),
            *(_percent((verdicts == verdict).mean()) for verdicts in said),
            *(_percent(found.mean()) for found in contradicted),
        ]
    differ = np.isin(truth, (BETTER, WORSE))
    means = [(said == np.array(truth))[:, differ].mean() for said in of_both]
    yield [
        *(str(seeds), "those that differ", f"{means[0] / means[1]:.2f} times as often"),
        *map(_percent, means),
        *("", ""),
    ]


def of_chance(rng: np.random.Generator, tables: int) -> Iterator[list[str]]:
    """The twelve seeds with their rows' means taken away, and whole rows of errors exchanged."""
    accuracies = np.array([list(row.values()) for row in twelve_seeds().values()])
    errors = accuracies - accuracies.mean(-1, keepdims=True)
    for seeds in (3, 5, 10):
        drawn = np.stack([
            rng.permuted(errors[:, rng.choice(12, seeds, replace=False)], axis=0)
            for _ in range(tables)
        ])  # fmt: skip
        nothing = 0.97 + drawn, np.full(drawn.shape[:2], 0.97)
        wrong = [test(*nothing).wrong.any(-1).mean() for test in (by_model, by_paired_tests)]
        yield [str(seeds), *map(_percent, wrong)]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"|{' --- |' * len(headings)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


_TEXT = (
    """# Do the verdicts of a sweep replicate?

`python -m benchmarks.statistics` prints this page.

A sweep's rows are compared in one model with the seed as block (`cnn_jax/analysis/statistics/`).
What it takes from where:

* **How much a row varies from seed to seed** is learned from all rows together: its accuracy at a
  seed is its mean, what the seed does to all rows, and an error of its own. So a difference of two
  rows has up to twice the degrees of freedom that its own values have (Grubbs 1948), and each
  row's variance counts as a draw from a scaled inverse chi-squared distribution (Smyth 2004), whose
  parameters, and the trend with the accuracy, are averaged over a grid by how well they explain
  the table. Estimating them instead decides too much from few rows. A share of the weight always
  goes to the hypothesis that rows are not alike, and the more seeds there are, the more the spread
  is that of the differences themselves, which do not need rows to be independent.
* **The family** is corrected for by Dunnett's test against a baseline, step down, and by Tukey's
  for all pairs. Rows that are identical to another leave it.
* **Two seeds decide nothing**: that they agree says little, and one that differs much.
* **Verdicts are read off the intervals.** A row is equivalent where its interval lies within the
  margin.

The price of an error of 5% where two of five rows vary five times as much as the others, which
three seeds can hardly show, is that less is gained there than elsewhere.
""",
    """## Simulated sweeps

{tables:,} tables for each row. Coverage: how many of the 95% intervals of the rows' means hold the
true mean, and in how many tables the intervals of all differences do. Family-wise error: in how
many tables a difference is found where there is none. Power: how many of the differences are found
where all rows differ from the baseline by {effects} standard deviations of the paired
differences (at 3, 5 and 10 seeds). Before: paired t-tests, each of its own variance, corrected by
Holm; where their assumptions hold, as in all but the scattered and the alike, their error is 5% or
less, and what is above is the chance of so many tables: ±{chance:.1f} points.
""",
    """Of so many kinds some come out above 5% by chance. These again, in {tables:,} other tables
(±{chance:.1f} points):
""",
    """## Seeds until decided

`--until=decided` looks after {counts} seeds, and adds seeds to rows that are undecided. Error: in
how many of {tables:,} tables a difference is found at any look where there is none; beside it what
comes of looking as if the number of seeds had been set before. Power and mean number of seeds where
all rows differ by {effect:g} standard deviations of the paired differences.
""",
    """`--until=replicated` adds them also to rows whose verdict fewer than four of five random
halves of their seeds share. It finds no difference that the other would not have found. What is it
good for? {tables} sweeps of five rows that vary equally and differ by {effect:g} standard
deviations, looked at after {counts} seeds; of the rows that were settled, the mean number of seeds,
and how many have the same verdict in a new study with as many other seeds.
""",
    """## Twelve real seeds

What all twelve seeds say of

    {command}

and how often the same is said by every choice of 3, 5 and 8 of them. A contradiction is another
verdict than that of the twelve, undecided apart.
""",
    """The errors of the same trials, in tables where no row differs: whole rows of errors change
places. In how many tables is a difference found?
""",
)


def _chance(tables: int) -> float:
    """Half of the 95% interval of an error of 5% in so many tables, in points."""
    return float(100 * 1.96 * (LEVEL * (1 - LEVEL) / tables) ** 0.5)


def document(seed: int, tables: int) -> Iterator[str]:
    """docs/statistics.md, line by line."""
    rng = np.random.default_rng(seed)
    effects = " / ".join(f"{effect:g}" for effect in EFFECTS.values())
    model, before = "model", "before"
    yield _TEXT[0]
    yield _TEXT[1].format(tables=tables, effects=effects, chance=_chance(tables))
    kinds, errors = ("rows", "seeds", "spread"), [f"error, {test}" for test in (model, before)]
    found = list(simulated(rng, tables))
    powers = [f"power, {test}" for test in (model, before)]
    yield from _table(
        (*kinds, "coverage of means", "of all differences", *errors, *powers, "ratio"),
        (each.cells for each in found),
    )
    yield ""
    more = 4 * tables
    yield _TEXT[2].format(tables=more, chance=_chance(more))
    yield from _table((*kinds, *errors), again(found, np.random.default_rng([seed, 1]), more))
    yield ""
    counts, fewer = listed(map(str, looks(*LOOKS))), max(1, tables // 2)
    yield _TEXT[3].format(counts=counts, tables=fewer, effect=EFFECTS[10])
    yield from _table(
        ("rows", "spread", "error", "error, naive", "power", "seeds of a row"),
        sequential(rng, fewer),
    )
    yield ""
    counts, fewer = listed(map(str, looks(*LOOKS_ANEW))), max(1, tables // 100)
    yield _TEXT[4].format(counts=counts, tables=fewer, effect=EFFECTS[10])
    yield from _table(("until", "settled", "seeds of a row", "the same anew"), anew(rng, fewer))
    yield ""
    yield _TEXT[5].format(command=COMMAND)
    yield from _table(
        (
            *("seeds", "row", "verdict of twelve"),
            *(f"the same, {test}" for test in (model, before)),
            *(f"contradictions, {test}" for test in (model, before)),
        ),
        itertools.chain.from_iterable(map(replicated, (3, 5, 8))),
    )
    yield ""
    yield _TEXT[6]
    yield from _table(("seeds", model, before), of_chance(np.random.default_rng(seed), tables))


def main(arguments: list[str]) -> None:
    """Prints the document."""
    for line in document(FLAGS.random_seed, FLAGS.tables):
        print(line, flush=True)


if __name__ == "__main__":
    app.run(main)
