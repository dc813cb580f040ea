import csv
import dataclasses
import functools
import io
import math
import random
import re

import numpy as np
import pytest
import sweeps
from browser import browser, needs_chromium
from records import Page
from rich.console import Console

from cnn_jax.analysis.ablation import (
    SweepRecord,
    latex_table,
    markdown_table,
    pair_rows,
    remarks,
    render_ablation_report,
    results_csv,
    results_rows,
    summaries,
    summarize,
    summary_csv,
    table_rows,
)
from cnn_jax.analysis.ablation.method import method
from cnn_jax.analysis.ablation.notes import warnings
from cnn_jax.analysis.statistics import (
    WORSE,
    compare_all,
    compare_sequentially,
    compare_to_baseline,
    mean_over_seeds,
)
from cnn_jax.training.grid import Trial
from experiments.ablation import print_table


@functools.cache
def page_of(name):
    return render_ablation_report(sweeps.SWEEPS[name]())


def plain(page):
    return " ".join(Page(page).text.split())


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


def said(record):
    return " ".join(remark.text for remark in warnings(record, summarize(record)))


def shuffled(record):
    trials = list(record.trials)
    random.Random(0).shuffle(trials)
    return dataclasses.replace(record, trials=trials)


def test_all_tables_of_a_record_are_made_from_one_comparison(monkeypatch: pytest.MonkeyPatch):
    compared = []

    def noted(*given):
        compared.append(given)
        return compare_to_baseline(*given)

    monkeypatch.setattr(summaries, "compare_to_baseline", noted)
    record = sweeps.few()
    summarize(record).clear()
    assert summary_csv(record) and markdown_table(record) and table_rows(record)
    assert len(compared) == 1
    assert len(summarize(record)) == len(record.variants)
    other = dataclasses.replace(record, equivalent_within=0.5)
    assert summarize(other) != summarize(record)


@pytest.mark.parametrize("name", sweeps.SWEEPS)
def test_page_is_well_formed_and_without_outside_references(name):
    page = page_of(name)
    ids = [attributes["id"] for _, attributes in Page(page).tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in Page(page).tags:
        assert tag not in {"link", "iframe", "object", "embed", "base"}
        for key in ("src", "href", "xlink:href", "srcset", "action", "poster"):
            reference = attributes.get(key) or "#"
            if not reference.startswith("data:image/png;base64,"):
                assert reference == "#" or reference.removeprefix("#") in ids
        for value in attributes.values():
            assert not re.search(r"url\((?!#)", value or "")
    assert not re.search(r"@import|url\(['\"]?http", page)
    assert not re.search(r"\b(nan|None|inf)\b", plain(page))


@pytest.mark.parametrize(
    "write", [render_ablation_report, results_csv, summary_csv, markdown_table, latex_table]
)
def test_same_text_whatever_the_order_of_the_trials(write):
    record = sweeps.diverged()
    assert write(record) == write(shuffled(record))


def test_csv_does_not_depend_on_times():
    record = sweeps.few()
    later = dataclasses.replace(record, seconds=[9.0] * 4, total_seconds=1.0, programs=7)
    assert results_csv(record) == results_csv(later)
    assert summary_csv(record) == summary_csv(later)


def test_results_have_one_row_per_trial_and_epoch():
    record = sweeps.activations(3)
    rows = read(results_csv(record))
    assert rows == list(results_rows(record))
    assert len(rows) == sum(len(trial.history) for trial in record.trials)
    assert list(rows[0]) == [
        *("activation", "learning_rate_flag", "seed", "epoch", "learning_rate"),
        *("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"),
        *("status", "chosen", "test_accuracy", "test_loss", "test_calibration_error"),
    ]
    for trial in record.trials:
        own = [
            row
            for row in rows
            if row["activation"] == record.variants[trial.variant]["activation"]
            and float(row["learning_rate_flag"]) == trial.tuned["learning_rate"]
            and int(row["seed"]) == trial.seed
        ]
        assert [int(row["epoch"]) for row in own] == [row["epoch"] for row in trial.history]
        assert {row["chosen"] for row in own} == {str(trial.chosen).lower()}
        for row, epoch in zip(own, trial.history, strict=True):
            assert all(float(row[key]) == epoch[key] for key in epoch)
        assert not any(row["test_accuracy"] or row["test_loss"] for row in own[:-1])
        assert own[-1]["test_accuracy"] == ("" if not trial.chosen else repr(trial.test_accuracy))


def test_results_of_trials_that_did_not_finish():
    record = sweeps.diverged()
    trials = [*record.trials, Trial(0, {}, 99, {}, "diverged")]
    rows = read(results_csv(dataclasses.replace(record, trials=trials)))
    lost = [row for row in rows if row["status"] == "diverged"]
    assert {row["test_accuracy"] for row in lost} == {""}
    assert [row["train_loss"] for row in lost if row["epoch"] == "3"] == ["nan"] * 6
    (empty,) = (row for row in rows if row["seed"] == "99")
    assert empty["epoch"] == empty["train_loss"] == ""


def test_results_without_a_validation_split():
    rows = read(results_csv(sweeps.few(validated=False)))
    assert {row["validation_accuracy"] for row in rows} == {""}


def test_summary_is_that_of_the_statistics():
    record = sweeps.few()
    rows = read(summary_csv(record))
    values = np.array([t.test_accuracy for t in record.trials]).reshape(4, 5)
    compared = compare_to_baseline([dict(enumerate(row)) for row in values], 0)
    for row in rows:
        index = record.axes["activation"].index(row["activation"])
        own, pair = values[index], compared[index]
        np.testing.assert_allclose(float(row["mean_test_accuracy"]), own.mean())
        np.testing.assert_allclose(float(row["std"]), own.std(ddof=1))
        mean = mean_over_seeds(own.tolist())
        np.testing.assert_allclose([float(row["low"]), float(row["high"])], [mean.low, mean.high])
        counts = [row[name] for name in ("n", "diverged", "failed", "parameters")]
        assert counts == ["5", "0", "0", "824458"]
        if pair:
            np.testing.assert_allclose(float(row["difference"]), np.mean(own - values[0]))
            ends = [float(row["difference_low"]), float(row["difference_high"])]
            np.testing.assert_allclose(ends, [pair.low, pair.high])
            for name in ("p", "p_corrected", "p_sign_flip"):
                np.testing.assert_allclose(float(row[name]), getattr(pair, name))
            assert row["verdict"] == pair.verdict
        else:
            assert row["difference"] == row["p"] == row["verdict"] == ""
    means = [float(row["mean_test_accuracy"]) for row in rows]
    assert means == sorted(means, reverse=True)


def test_summary_of_diverged_variants():
    rows = {row["activation"]: row for row in read(summary_csv(sweeps.diverged()))}
    assert (rows["tanh"]["n"], rows["tanh"]["diverged"]) == ("4", "1")
    assert (rows["identity"]["n"], rows["identity"]["diverged"]) == ("0", "5")
    assert rows["identity"]["mean_test_accuracy"] == ""
    assert rows["identity"]["verdict"] == "diverged"
    assert (rows["tanh"]["failed"], rows["tanh"]["symptoms"]) == ("1", "diverged")


def test_summary_has_the_chosen_values():
    for row in read(summary_csv(sweeps.activations(4))):
        variant = sweeps.ACTIVATIONS.index(row["activation"])
        chosen = sweeps.RATES[sweeps.chosen_place(variant, sweeps.RATES)]
        assert float(row["learning_rate_flag"]) == chosen


def test_a_variant_without_a_choice_counts_all_that_diverged():
    record = sweeps.activations(2, status=lambda v, rate, seed: "diverged" if v else "finished")
    trials = [dataclasses.replace(t, chosen=t.chosen and t.variant == 0) for t in record.trials]
    record = dataclasses.replace(record, trials=trials)
    lost = summarize(record)[1]
    assert (lost.diverged, lost.trials, lost.tuned) == (12, 12, {})
    assert "leaky_relu (12 of 12)" in said(record)
    assert "12 of 12 diverged" in render_ablation_report(record)
    assert "0 (12 of 12 failed)" in markdown_table(record).replace("\\", "")


def test_table_of_the_page():
    record = sweeps.activations(5)
    rows = Page(render_ablation_report(record)).table("verdict")
    for row, summary in zip(rows, summarize(record), strict=True):
        mean = summary.mean
        assert row[0].startswith(summary.label)
        assert row[1] == f"{mean.mean:.2%} [{mean.low:.2%}, {mean.high:.2%}]"
        assert row[-1] == f"{record.seconds[summary.variant]:.1f}"
        if summary.comparison is None:
            assert row[2] == "baseline"
        else:
            shown = f"{100 * summary.comparison.difference:+.2f}".replace("-", "−")
            assert row[2].startswith(f"{shown} [")
            assert summary.comparison.verdict in row[5]


def test_headline_is_the_highest_mean_with_its_interval():
    best = summarize(sweeps.few())[0]
    text = plain(page_of("few"))
    assert best.label == "gelu"
    assert f"{best.mean.mean:.2%} is the highest mean test accuracy, that of gelu" in text
    assert f"95% interval {best.mean.low:.2%} to {best.mean.high:.2%} over 5 seeds" in text


def test_method_says_what_was_done():
    record = sweeps.pruned()
    words = dict(method(record, summarize(record)))
    assert "15 variants of activation, 180 trials of 6 epochs in 15 compiled" in words["Sweep"]
    assert "1 h 06 min wall time" in words["Sweep"]
    assert "3 trials diverged" in words["Sweep"]
    assert "3 seeds for each variant: 0, 1 and 2" in words["Seeds"]
    assert "mean validation accuracy at the last epoch, on 5,000 examples" in words["Choice"]
    assert "0.003, 0.01, 0.03 and 0.1" in words["Choice"]
    pruned = sum(trial.status == "pruned" for trial in record.trials)
    assert f"{pruned} trials of 180 were pruned" in words["Choice"]
    assert "(10,000 examples) was read once, at the end, by the 45 finished" in words["Test split"]
    assert "paired, seed by seed" in words["Comparison"]
    assert "all 14 comparisons at once with 95% (Dunnett 1955" in words["Comparison"]
    assert "points to be shown here" in words["What it can find"]
    text = plain(page_of("pruned"))
    assert all(sentence in text for sentence in words.values())


def test_one_seed_has_no_interval_and_says_why():
    record = sweeps.one_seed()
    assert "One seed per variant: there is no interval and no test, because" in said(record)
    text = plain(page_of("one seed"))
    assert "of one seed." in text
    assert "Too few seeds finished to say" in text
    assert "too few seeds for a test" in text
    for table in (markdown_table(record), latex_table(record)):
        assert "± 0" not in table
        assert "pm$ 0" not in table
        assert "one seed per variant, so there is no interval" in table


def test_few_seeds_are_said_to_say_little():
    assert "2 seeds say too little for a verdict" in said(sweeps.few(seeds=range(2)))
    three = said(sweeps.few(seeds=range(3)))
    assert "Decided by taking the seeds' differences for normally distributed" in three
    assert "cannot get p below 0.25, whatever the data" in three


def test_two_rows_are_compared_by_a_paired_t_test_and_so_it_is_said():
    names = ("relu", "gelu")
    variants = [{"activation": name} for name in names]
    record = sweeps.sweep({"activation": names}, variants, [0.985, 0.9895], range(4))
    assert "for normally distributed: gelu" in said(record)
    for table in (markdown_table(record), latex_table(record)):
        assert "over 1 comparison (a paired t-test)" in " ".join(table.split())


def test_enough_seeds_are_not():
    assert "whatever the data" not in said(sweeps.few(seeds=range(6)))


def test_diverged_trials_are_named_and_counted():
    assert "left out of the means and the pairs: tanh (1 of 5) and identity (5 of 5)" in said(
        sweeps.diverged()
    )
    assert "Diverged" not in said(sweeps.few())
    assert "The baseline relu has no finished trial" in said(sweeps.all_diverged())
    assert "No trial that counts has finished" in plain(page_of("all diverged"))


def test_a_shared_learning_rate_is_pointed_out():
    words = "All variants share one learning rate (0.1): comparing activation at one shared"
    assert words in said(sweeps.few())
    assert "learning rate" not in said(sweeps.activations(3))
    record = sweeps.few()
    rates = [
        dataclasses.replace(t, history=[r | {"learning_rate": 0.1 + t.variant} for r in t.history])
        for t in record.trials
    ]
    differing = dataclasses.replace(record, trials=rates)
    assert "was not tuned: each variant ran at a rate set beforehand" in said(differing)
    axes = {"learning_rate": ("0.1", "0.2", "0.3", "0.4")}
    variants = [{"learning_rate": value} for value in axes["learning_rate"]]
    assert "learning rate" not in said(dataclasses.replace(record, axes=axes, variants=variants))


def test_a_choice_at_the_edge_of_the_grid_is_pointed_out():
    words = said(sweeps.activations(4))
    assert "The chosen learning_rate is the smallest that was tried for relu (0.003) and" in words
    assert "widen the grid" in words
    assert "largest" not in words
    inner = said(sweeps.activations(1 + 1, rates=(0.01, 0.1)))
    assert "smallest that was tried for relu (0.01)" in inner


def test_edges_are_those_of_the_variant_where_grids_differ():
    record = sweeps.activations(2)
    trials = [
        dataclasses.replace(
            t, tuned={"learning_rate": t.tuned["learning_rate"] * (100 if t.variant else 1)}
        )
        for t in record.trials
    ]
    grid = sorted({t.tuned["learning_rate"] for t in trials})
    words = said(dataclasses.replace(record, trials=trials, tuned={"learning_rate": grid}))
    assert "smallest that was tried for relu (0.003):" in words
    assert "widen the grid" in words and "leaky_relu (" not in words.split("The chosen")[1]


def test_a_search_that_ends_at_an_edge_names_the_limit():
    record = dataclasses.replace(sweeps.activations(4), searched=("learning_rate",))
    words = said(record)
    assert "The chosen learning_rate is the smallest that was tried for relu (0.003) and" in words
    assert "a search ends at a thousandth and a thousand times the default" in words
    assert "widen the grid" not in words
    assert "Every row had 4 tries; learning_rate was searched for" in markdown_table(record)
    apart = dataclasses.replace(record, tune_seeds=(10_000,))
    assert "chosen on 1 seed of which nothing is reported" in markdown_table(apart)


def test_whether_a_verdict_would_replicate_is_in_every_table():
    record = sweeps.few(seeds=tuple(range(8)))
    shares = {s.label: s.replicates for s in summarize(record)}
    assert shares["relu"] is None and all(0 <= x <= 1 for x in shares.values() if x is not None)
    for text in (markdown_table(record), latex_table(record), render_ablation_report(record)):
        assert "in half the seeds" in text
    for row in read(summary_csv(record)):
        share = shares[row["activation"]]
        assert row["replicates"] == ("" if share is None else repr(share))
    assert "in half the seeds" not in markdown_table(sweeps.few(seeds=(0, 1, 2, 3, 4)))


def test_seeds_that_were_added_are_said():
    record = dataclasses.replace(sweeps.few(), looks=(3, 5, 8))
    assert "looked at after 3, 5 and 8 seeds" in markdown_table(record)
    values = np.array([t.test_accuracy for t in record.trials]).reshape(4, 5)
    found = compare_sequentially([dict(enumerate(row)) for row in values], 0, (3, 5, 8)).pairs
    rows = {summary.variant: summary.comparison for summary in summarize(record)}
    assert [rows[index] for index in range(4)] == found
    assert "that were undecided: looked" in markdown_table(record)
    lasting = markdown_table(dataclasses.replace(record, replicated=True))
    assert "fewer than 80% of random halves of the seeds shared: looked" in lasting
    fewer = [t for t in record.trials if t.variant != 2 or t.seed < 3]
    record = dataclasses.replace(record, trials=fewer)
    words = dict(method(record, summarize(record)))
    assert "3 to 5 seeds for each variant, the first of 0, 1, 2, 3 and 4" in words["Seeds"]


def test_a_pilot_says_what_a_difference_takes():
    record = dataclasses.replace(sweeps.few(), detect=0.002)
    assert "To show a difference of 0.2 points from relu in four cases of five" in said(record)
    alone = dataclasses.replace(sweeps.one_seed(), detect=0.002)
    assert "the pilot has too few seeds" in said(alone)


def test_same_difference_in_every_seed_is_no_proof():
    record = sweeps.few(seeds=range(3))
    shift = {0: 0.0, 1: 0.001, 2: 0.0, 3: 0.0}
    trials = [
        dataclasses.replace(t, test_accuracy=0.97 + 0.002 * t.seed + shift[t.variant])
        for t in record.trials
    ]
    record = dataclasses.replace(record, trials=trials)
    assert "leaves no spread to judge them by" in said(record)
    assert "The same accuracy as the baseline in every seed, so not tested: tanh and" in said(
        record
    )
    verdicts = {row["activation"]: row["verdict"] for row in read(summary_csv(record))}
    assert verdicts["gelu"] == "undecided"
    assert verdicts["tanh"] == "equivalent"
    assert "nan" not in summary_csv(record)


def test_markdown_table():
    record = sweeps.diverged()
    heading, marks, *rows = markdown_table(record).split("\n\n")[0].splitlines()
    best = summarize(record)[0].mean
    half = 100 * (best.high - best.low) / 2
    assert rows[0].startswith(
        f"| gelu<sup>bc</sup> | 5 | **{100 * best.mean:.2f} ± {half:.2f}** | +0.46 "
    )
    assert "| relu<sup>b</sup> | 5 |" in rows[1]
    assert "| baseline |" in rows[1]
    assert "| 4 (1 of 5 failed) |" in rows[2]
    assert rows[3].startswith("| identity<sup>a</sup> | 0 (5 of 5 failed) | – | – |")
    assert rows[3].endswith("| diverged |")
    assert {line.count("|") for line in (heading, marks, *rows)} == {8}
    assert "<sup>a</sup> Diverged, and left out" in markdown_table(record)


def test_parameters_are_in_the_table_where_they_differ():
    assert "parameters" not in markdown_table(sweeps.few())
    table = markdown_table(sweeps.few(parameters=[10, 20, 30, 4000]))
    assert "| parameters |" in table
    assert "| 4,000 |" in table


def test_no_row_that_is_worse_than_the_baseline_is_bold():
    # Of all pairs, some of these are not shown to differ from the highest.
    found = summarize(sweeps.activations(14))
    assert not any(summary.best for summary in found if summary.verdict == WORSE)
    assert sum(summary.verdict == WORSE for summary in found) > 6
    assert sum(summary.best for summary in found) > 1


def test_latex_table():
    record = sweeps.two_axes()
    table = latex_table(record)
    body = table[table.index(r"\midrule") : table.index(r"\bottomrule")]
    assert body.count(r" \\") == 20
    best = [summary.best for summary in summarize(record)]
    assert table.count(r"\textbf") == sum(best) > 1 and best[0]
    assert re.search(r"cross\\_entropy & 3 & \\textbf\{[\d.]+ \$\\pm\$ [\d.]+\} &", body)
    assert table.count("{") == table.count("}")
    for words in (
        r"95\% Student t interval over 3 seeds",
        "10,000 test examples",
        "simultaneous",
        r"\par\footnotesize \textsuperscript{a} Diverged",
    ):
        assert words in table


@pytest.mark.parametrize("name", sweeps.SWEEPS)
def test_page_terminal_and_tables_have_the_same_remarks(name):
    record = sweeps.SWEEPS[name]()
    texts = [remark.text for remark in warnings(record, summarize(record))]
    shown = io.StringIO()
    print_table(Console(file=shown, width=60), record)
    markdown = re.sub(r"\\(.)", r"\1", markdown_table(record))
    latex = re.sub(r"\\([%_&#$])", r"\1", latex_table(record))
    page, terminal = plain(page_of(name)), " ".join(shown.getvalue().split())
    for text in texts:
        assert text in page
        assert text in terminal
        assert text in markdown
        assert text in latex.replace(r"$\cdot$", "·").replace("``", "“").replace("''", "”")
    letters = [letter for letter, _ in remarks(record) if letter]
    assert letters == list("abcdefgh"[: len(letters)])
    for letter in letters:
        assert f"<sup>{letter}</sup> " in markdown
        assert rf"\textsuperscript{{{letter}}} " in latex


@pytest.mark.parametrize("name", sweeps.SWEEPS)
def test_a_terminal_of_sixty_columns_tells_the_rows_apart(name):
    record = sweeps.SWEEPS[name]()
    shown = io.StringIO()
    print_table(Console(file=shown, width=60), record)
    lines = shown.getvalue().splitlines()
    assert max(map(len, lines)) <= 60
    head, body = re.split(r"─\s*\n", shown.getvalue().split("Test accuracy")[0])
    column = head.splitlines()[-2].index("accuracy") if "accuracy" in head.splitlines()[-2] else 16
    names = re.sub(r"\s", "", "".join(line[: column - 2] for line in body.splitlines()))
    for row in table_rows(record):
        assert "".join("·".join((*row.names, *row.tuned)).split()) in names
        assert record.baseline is None or row.verdict.split()[0] in body


def test_every_pair_is_in_every_table_where_asked_for():
    record = dataclasses.replace(sweeps.diverged(), all_pairs=True)
    rows = pair_rows(record)
    assert [row[:2] for row in rows] == [["gelu", "relu"], ["gelu", "tanh"], ["relu", "tanh"]]
    values = [s.accuracies for s in sorted(summarize(record), key=lambda s: s.variant)]
    pair = compare_all(values)[0, 1].reversed
    assert rows[0][2].startswith(f"+{100 * pair.difference:.2f} [+{100 * pair.low:.2f}, ")
    assert rows[0][-1] == pair.verdict == "better"
    shown = io.StringIO()
    print_table(Console(file=shown, width=60), record)
    page = Page(render_ablation_report(record))
    assert page.table("against") == rows
    for text in (shown.getvalue(), markdown_table(record), latex_table(record), page.text):
        assert "Every pair of rows, with intervals that hold" in text
    assert max(map(len, shown.getvalue().splitlines())) <= 60
    assert markdown_table(record).count("| gelu | relu | +0.46") == 1
    assert r"gelu & relu & +0.46" in latex_table(record)
    assert pair_rows(sweeps.diverged()) == []


def trained(losses, accuracies, test, train=0.9):
    history = [
        {"epoch": e, "train_loss": loss, "train_accuracy": train, "validation_accuracy": accuracy}
        for e, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True), start=1)
    ]
    return Trial(0, {}, 0, {}, "finished", tuple(history), chosen=True, test_accuracy=test)


@pytest.mark.parametrize(
    ("trial", "found"),
    [
        (trained([2.0, 0.3, 0.2], [0.5, 0.95, 0.95], 0.95), {}),
        (trained([2.0, 0.3, 0.2], [0.1, 0.11, 0.11], 0.114), {"at chance": 1}),
        (trained([2.3, 2.3, 2.31], [0.2, 0.2, 0.2], 0.2), {"stuck at the first loss": 1}),
        (trained([2.0, 0.5, 0.3], [0.5, 0.7, 0.8], 0.8), {"still improving": 1}),
        (trained([2.0, 0.1, 0.0], [0.5, 0.9, 0.9], 0.9, train=1.0), {"memorized": 1}),
        (Trial(0, {}, 0, {}, "diverged", chosen=True), {"diverged": 1}),
    ],
)
def test_failures_are_seen(trial, found):
    record = dataclasses.replace(
        sweeps.few(), trials=[trial], seeds=(0,), validation_examples=1000, chance=0.1135
    )
    (summary, *_) = [s for s in summarize(record) if s.variant == 0]
    assert summary.symptoms == found
    failures = {"diverged", "at chance", "stuck at the first loss"} & found.keys()
    assert summary.failed == len(failures)
    if found:
        assert any(remark.variants == (0,) for remark in warnings(record, summarize(record)))


ATTACK = "<script>alert(1)</script>\"'&|_*`[x](y)$%#{}~^\\"


def attacked():
    record = sweeps.few()
    names = (ATTACK, "a_b", "[1, 2]", "d")
    return dataclasses.replace(
        record,
        dataset=ATTACK,
        model=ATTACK,
        axes={ATTACK: names},
        variants=[{ATTACK: name} for name in names],
        flags=ATTACK,
        environment={ATTACK: ATTACK},
    )


def test_page_escapes_everything_from_the_user():
    page = render_ablation_report(attacked())
    assert "<script>alert" not in page
    # The numbers for the script, and the script.
    assert sum(tag == "script" for tag, _ in Page(page).tags) == 2
    assert ATTACK in Page(page).text


def test_latex_escapes_what_has_a_meaning():
    table = latex_table(attacked())
    body = table[table.index(r"\midrule") : table.index(r"\bottomrule")]
    bare = re.sub(r"\\(text\w+\{\}|textbf|textsuperscript|pm|cdot|midrule|\\|[&%$#_{}])", "", body)
    assert not re.search(r"[\\%#_~^|\"<>]", re.sub(r"\$[<>-]?\$", "", bare))
    assert "\n{}[1, 2]\\textsuperscript" in body
    assert r"a\_b" in body


def test_markdown_escapes_what_has_a_meaning():
    lines = markdown_table(attacked()).splitlines()
    for line in lines[:6]:
        assert len(re.findall(r"(?<!\\)\|", line)) == 8
    assert r"\<script\>" in lines[0]
    assert any("| a_b<sup>" in line for line in lines)


def test_csv_keeps_what_the_user_wrote():
    rows = read(results_csv(attacked()))
    assert {row[ATTACK] for row in rows} == {ATTACK, "a_b", "[1, 2]", "d"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seconds": [1.0]}, "equally many"),
        ({"variants": [{"loss": "mse"}] * 4}, r"a value for each of \['activation'\]"),
        ({"baseline": 4}, "one of 4 variants"),
        ({"trials": [Trial(0, {}, 0, {}, "finished", chosen=True)] * 2}, "at most one chosen"),
    ],
)
def test_record_rejects_what_disagrees(changes, message):
    with pytest.raises(ValueError, match=message):
        SweepRecord(**(vars(sweeps.few()) | changes))


def test_numbers_read_back_the_same():
    rows = read(results_csv(sweeps.few()))
    values = {trial.test_accuracy for trial in sweeps.few().trials}
    assert {float(row["test_accuracy"]) for row in rows if row["test_accuracy"]} == values
    assert math.isclose(float(rows[0]["train_loss"]), -math.log(0.6))


@needs_chromium
def test_rows_are_filtered_compared_and_set_against_their_cost(tmp_path):
    file = tmp_path / "ablation.html"
    record = dataclasses.replace(sweeps.activations(), parameters=list(range(1000, 16000, 1000)))
    file.write_text(render_ablation_report(record), encoding="utf-8")
    attack = tmp_path / "attack.html"
    attack.write_text(render_ablation_report(attacked()), encoding="utf-8")
    boxes = "document.querySelectorAll('#results input')"
    with browser() as tab:
        tab.open(file)
        results = "document.getElementById('results').parentElement"
        assert tab.value(f"{results}.scrollWidth <= {results}.clientWidth"), "a column is cut"
        names = [tab.value(f"{boxes}[{place}].ariaLabel") for place in (0, 3)]
        tab.value(f"{boxes}[0].click(); {boxes}[3].click()")
        text = tab.value("document.getElementById('explore').textContent")
        one, two = (name.removeprefix("compare ") for name in names)
        assert f"{one} less {two}" in text
        rows = summarize(record)
        differences = [rows[0].accuracies[seed] - rows[3].accuracies[seed] for seed in record.seeds]
        assert f"mean{100 * np.mean(differences):+.2f}" in text
        tab.value(f"{boxes}[1].click()")
        assert tab.value(f"[...{boxes}].filter(box => box.checked).length") == 2
        search = "document.querySelector('#explore input[type=search]')"
        tab.value(f"{search}.value = 'elu'; {search}.dispatchEvent(new Event('input'))")
        assert "of 15 rows" in tab.value("document.getElementById('explore').textContent")
        shown = "[...document.querySelectorAll('#results tbody tr')].filter(row => !row.hidden)"
        left = tab.value(f"{shown}.map(row => row.cells[0].textContent)")
        assert left
        assert all("elu" in name for name in left)
        assert tab.value("document.querySelectorAll('#explore circle').length") == len(left)
        tab.value("document.querySelector('#explore circle').focus()")
        assert "parameters" in tab.value(
            "[...document.querySelectorAll('#explore p')].at(-1).textContent"
        )
        assert (tab.said, tab.requests) == ([], [])
        tab.open(attack)
        tab.value(f"{boxes}[0].click(); {boxes}[1].click()")
        assert tab.value("document.querySelectorAll('#explore script').length") == 0
        assert ATTACK in tab.value("document.getElementById('explore').textContent")
        assert tab.said == []
