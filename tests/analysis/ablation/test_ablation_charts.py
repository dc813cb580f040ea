import dataclasses
import itertools
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import sweeps

from cnn_jax.analysis import figures
from cnn_jax.analysis.ablation import SweepRecord, summarize, tries
from cnn_jax.analysis.ablation import charts as ablation_charts
from cnn_jax.analysis.ablation import lines as ablation_lines


def texts(figure):
    """All the text of a figure, as a reader sees it, from top to bottom as it is drawn."""
    root = ElementTree.fromstring(figures.to_svg(figure))
    return ["".join(node.itertext()).strip() for node in root.iter() if node.tag.endswith("}text")]


@pytest.mark.parametrize("make", sweeps.SWEEPS.values(), ids=sweeps.SWEEPS)
def test_dot_plot_names_every_variant_in_the_order_of_the_table(make):
    record = make()
    (axes,) = ablation_charts.dot_plot(record).axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == [summary.label for summary in summarize(record)]
    assert axes.yaxis_inverted()


def test_dot_plot_shows_means_intervals_and_seeds():
    record = sweeps.few()
    (axes,) = ablation_charts.dot_plot(record).axes
    lines = [line.get_xdata() for line in axes.lines]
    drawn = np.concatenate([np.ravel(line) for line in lines])
    left, right = axes.get_xlim()
    for summary in summarize(record):
        for value in (*summary.accuracies.values(), summary.mean.mean):
            assert np.isclose(drawn, value).any()
            assert left < value < right
        ends = np.clip([summary.mean.low, summary.mean.high], left, right)
        assert any(np.shape(line) == (2,) and np.allclose(line, ends) for line in lines)


def test_dot_plot_writes_what_lies_far_below_and_what_diverged():
    record = sweeps.activations()
    figure = ablation_charts.dot_plot(record)
    lowest = summarize(record)[-1].mean.mean
    assert f"{lowest:.2%}" in texts(figure)
    assert figure.axes[0].get_xlim()[0] > 0.9
    assert "5 of 5 diverged" in texts(ablation_charts.dot_plot(sweeps.diverged()))


@pytest.mark.parametrize(
    ("make", "named", "absent"),
    [
        (sweeps.diverged, {"baseline", "better", "worse"}, {"undecided", "equivalent"}),
        (lambda: sweeps.few(baseline=None), {"mean", "one seed"}, {"baseline", "better"}),
        (sweeps.one_seed, {"baseline", "undecided"}, {"one seed", "better"}),
    ],
)
def test_dot_plot_explains_its_marks(make, named, absent):
    shown = set(texts(ablation_charts.dot_plot(make())))
    assert named <= shown
    assert not absent & shown


def test_heat_map_writes_every_mean_where_it_belongs():
    record = sweeps.two_axes()
    (axes,) = ablation_charts.heat_map(record).axes
    rows = [label.get_text() for label in axes.get_yticklabels()]
    columns = [label.get_text() for label in axes.get_xticklabels()]
    assert rows == list(record.axes["activation"])
    assert columns == list(record.axes["loss"])
    grid = np.asarray(axes.images[0].get_array().filled(np.nan))
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    for summary in summarize(record):
        variant = record.variants[summary.variant]
        place = rows.index(variant["activation"]), columns.index(variant["loss"])
        if summary.mean is None:
            assert cells[place[::-1]] == "diverged"
            assert np.isnan(grid[place])
        else:
            assert cells[place[::-1]].startswith(f"{100 * summary.mean.mean:.2f} ")
            np.testing.assert_allclose(grid[place], summary.mean.mean)


def test_heat_map_has_a_place_for_an_axis_that_is_not_read():
    (axes,) = ablation_charts.heat_map(sweeps.numbers()).axes
    names = [label.get_text() for label in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    assert set(names) == {"sgd", "momentum", "adam", "0.5", "0.9", "0.99", "–"}
    assert len(axes.texts) == 7


def test_heat_map_rejects_one_axis():
    with pytest.raises(ValueError, match="two compared axes"):
        ablation_charts.heat_map(sweeps.few())


@pytest.mark.parametrize("make", sweeps.SWEEPS.values(), ids=sweeps.SWEEPS)
def test_accuracy_by_epoch_name_every_variant(make):
    record = make()
    figure = ablation_lines.accuracy_by_epoch(record)
    assert {summary.label for summary in summarize(record)} <= set(texts(figure))
    apart = len(record.variants) > ablation_lines.MAX_LINES
    assert len(figure.axes) == (len(record.variants) if apart else 1)


def test_accuracy_by_epoch_are_means_over_finished_seeds_in_their_range():
    record = sweeps.diverged()
    (axes,) = ablation_lines.accuracy_by_epoch(record).axes
    drawn = {line.get_label(): line for line in axes.lines}
    for variant, name in enumerate(("relu", "gelu", "tanh")):
        values = np.array(
            [
                [row["validation_accuracy"] for row in trial.history]
                for trial in record.trials
                if trial.variant == variant and trial.status == "finished"
            ]
        )
        np.testing.assert_allclose(drawn[name].get_ydata(), values.mean(axis=0))
    assert len(drawn["identity"].get_ydata()) == 0
    crosses = [line for line in axes.lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert [line.get_xdata()[0] for line in crosses] == [3] * 6


def test_accuracy_by_epoch_without_a_validation_split_are_of_the_train_split():
    assert "train accuracy" in texts(ablation_lines.accuracy_by_epoch(sweeps.few(validated=False)))


def test_axis_is_stretched_only_near_all_right():
    assert "99%" in texts(ablation_lines.accuracy_by_epoch(sweeps.few()))
    low = sweeps.few()
    changes = {"history": [{"epoch": 1, "validation_accuracy": 0.3}], "test_accuracy": 0.3}
    trials = [type(t)(**(vars(t) | changes)) for t in low.trials]
    record = SweepRecord(**(vars(low) | {"trials": trials}))
    assert ablation_lines.accuracy_by_epoch(record).axes[0].get_yscale() == "linear"


def test_numeric_names():
    assert ablation_lines.numeric_names(sweeps.activations(3)) == ["learning_rate"]
    assert ablation_lines.numeric_names(sweeps.numbers()) == ["momentum"]
    assert ablation_lines.numeric_names(sweeps.two_axes()) == []


def test_accuracy_against_a_tuned_hyperparameter():
    record = sweeps.activations(3)
    (axes,) = ablation_lines.accuracy_against(record, "learning_rate").axes
    assert axes.get_xscale() == "log"
    drawn = {line.get_label(): line for line in axes.lines}
    for variant, name in enumerate(record.axes["activation"]):
        expected = [
            np.mean(
                [
                    trial.history[-1]["validation_accuracy"]
                    for trial in record.trials
                    if trial.variant == variant and trial.tuned["learning_rate"] == rate
                ]
            )
            for rate in sweeps.RATES
        ]
        np.testing.assert_allclose(drawn[name].get_xdata(), sweeps.RATES)
        np.testing.assert_allclose(drawn[name].get_ydata(), expected)
    circled = [line.get_xdata()[0] for line in axes.lines if line.get_markersize() == 10]
    assert sorted(circled) == sorted(
        sweeps.RATES[sweeps.chosen_place(v, (1,) * 4)] for v in range(3)
    )


def test_pruned_and_diverged_values_are_marked_beneath():
    record = sweeps.pruned()
    figure = ablation_lines.accuracy_against(record, "learning_rate")
    axes = next(axes for axes in figure.axes if axes.get_title(loc="left") == "squareplus")
    marks = {line.get_marker(): list(line.get_xdata()) for line in axes.lines}
    assert marks["x"] == [0.1]
    lower = next(axes for axes in figure.axes if axes.get_title(loc="left") == "silu")
    assert {line.get_marker(): list(line.get_xdata()) for line in lower.lines}["|"] == [0.003]


def test_accuracy_against_a_compared_axis_has_a_line_per_rest():
    record = sweeps.numbers()
    (axes,) = ablation_lines.accuracy_against(record, "momentum").axes
    drawn = {line.get_label(): line for line in axes.lines}
    assert {"momentum", "adam"} <= set(drawn)
    means = {summary.label: summary.mean.mean for summary in summarize(record)}
    np.testing.assert_allclose(drawn["adam"].get_xdata(), [0.5, 0.9, 0.99])
    expected = [means[f"adam · {value}"] for value in record.axes["momentum"]]
    np.testing.assert_allclose(drawn["adam"].get_ydata(), expected)


def test_dollar_signs_are_no_formulas():
    record = sweeps.few()
    names = ("$a$", "$b$", "$c$", "$d$")
    variants = [{"activation": name} for name in names]
    record = SweepRecord(**(vars(record) | {"axes": {"activation": names}, "variants": variants}))
    for figure in (ablation_charts.dot_plot(record), ablation_lines.accuracy_by_epoch(record)):
        assert set(names) <= set(texts(figure))


def test_far_outliers():
    assert ablation_lines.lowest_near(np.array([0.11, 0.98, 0.985, 0.99])) == 0.98
    assert ablation_lines.lowest_near(np.array([0.5, 0.7, 0.9])) == 0.5


def test_the_expected_best_is_the_mean_over_all_choices_of_tries():
    scores = np.array([0.9, 0.3, 0.7, 0.7])
    for k, found in enumerate(tries.expected_maximum(scores), start=1):
        every = [max(choice) for choice in itertools.product(scores, repeat=k)]
        np.testing.assert_allclose(found, np.mean(every))


def test_what_more_tries_bring_and_how_sharp_the_best_is():
    record = dataclasses.replace(sweeps.activations(3), searched=("learning_rate",))
    figure = tries.expected_best(record)
    (axes,) = figure.axes
    drawn = [line.get_ydata() for line in axes.get_lines() if len(line.get_ydata())]
    assert [len(heights) for heights in drawn] == [len(sweeps.RATES)] * 3
    assert all((np.diff(heights) >= 0).all() for heights in drawn)
    figure = tries.sensitivity(record, "learning_rate")
    assert "learning_rate, as a multiple of each row's best" in texts(figure)
    drawn = [line.get_xdata() for line in figure.axes[0].get_lines() if len(line.get_xdata()) > 1]
    assert len(drawn) == 3 and all(1.0 in places for places in drawn)
