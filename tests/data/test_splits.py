"""Held-out parts and subsets: exact sizes, fair shares, the same on every machine."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.data import Split, hold_out, take
from cnn_jax.errors import UsageError


def _split(labels: list[int]) -> Split:
    """Every image carries its own position, so that parts can be told apart."""
    positions = np.arange(len(labels), dtype=np.uint8)
    return Split(positions.reshape(-1, 1, 1, 1), np.array(labels, np.int32))


def _positions(split: Split) -> list[int]:
    return split.images.ravel().tolist()


some_labels = st.lists(st.integers(0, 4), min_size=1, max_size=60)


@settings(max_examples=150, deadline=None)
@given(some_labels, st.floats(0, 0.99), st.integers(0, 1000))
def test_hold_out_is_a_fair_division(labels: list[int], fraction: float, seed: int):
    split = _split(labels)
    counts = np.bincount(labels)
    total = round(len(labels) * fraction)
    if total > np.maximum(counts - 1, 0).sum():
        with pytest.raises(UsageError, match="none to train on"):
            hold_out(split, fraction, seed)
        return
    train, validation = hold_out(split, fraction, seed)
    assert len(validation) == total
    assert sorted(_positions(train) + _positions(validation)) == list(range(len(labels)))
    assert _positions(train) == sorted(_positions(train))
    assert _positions(validation) == sorted(_positions(validation))
    for part in (train, validation):
        np.testing.assert_array_equal(part.labels, np.array(labels)[_positions(part)])
    held = np.bincount(validation.labels, minlength=len(counts))
    assert np.all((counts - held >= 1) | (counts == 0))
    # Within one of the fair share, unless keeping one example of small classes got in the way.
    if np.all(np.ceil(counts * total / len(labels)) <= np.maximum(counts - 1, 0)):
        assert np.all(np.abs(held - counts * total / len(labels)) < 1)


@settings(max_examples=100, deadline=None)
@given(some_labels, st.data(), st.integers(0, 1000))
def test_take_is_a_fair_sample(labels: list[int], drawn: st.DataObject, seed: int):
    n = drawn.draw(st.integers(1, len(labels)))
    part = take(_split(labels), n, seed)
    assert len(part) == n
    assert _positions(part) == sorted(set(_positions(part)))
    counts = np.bincount(labels)
    share = np.bincount(part.labels, minlength=len(counts))
    assert np.all(np.abs(share - counts * n / len(labels)) < 1)


def test_seeds_give_the_same_part_everywhere_and_different_parts_each():
    split = _split([0, 1] * 20)
    assert _positions(hold_out(split, 0.1, 0)[1]) == [0, 1, 9, 18]
    assert _positions(hold_out(split, 0.1, 0)[1]) != _positions(hold_out(split, 0.1, 1)[1])
    assert _positions(take(split, 5, 3)) == _positions(take(split, 5, 3))


def test_equal_remainders_do_not_favor_low_classes():
    """One example of ten classes of two: each class must be picked by some seed."""
    split = _split(list(range(10)) * 2)
    picked = {int(take(split, 1, seed).labels[0]) for seed in range(100)}
    assert picked == set(range(10))


def test_every_example_can_be_held_out():
    split = _split([0] * 10)
    held = {_positions(hold_out(split, 0.1, seed)[1])[0] for seed in range(100)}
    assert held == set(range(10))


def test_nothing_held_out_and_everything_taken():
    split = _split([0, 1, 1])
    train, validation = hold_out(split, 0.0, 0)
    assert train is split
    assert len(validation) == 0
    assert validation.images.shape == (0, 1, 1, 1)
    assert take(split, 3, 0) is split


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5, float("nan")])
def test_bad_fractions_are_refused(fraction: float):
    with pytest.raises(UsageError, match="expected 0 <= fraction < 1"):
        hold_out(_split([0, 1]), fraction, 0)


@pytest.mark.parametrize("n", [0, -1, 4])
def test_bad_sizes_are_refused(n: int):
    with pytest.raises(UsageError, match="expected 1 to 3"):
        take(_split([0, 1, 1]), n, 0)


def test_bad_seeds_are_refused():
    with pytest.raises(UsageError, match="seed is -1"):
        take(_split([0, 1, 1]), 2, -1)
    with pytest.raises(UsageError, match="seed is -1"):
        hold_out(_split([0, 0, 1, 1]), 0.5, -1)


rows = st.lists(st.tuples(*[st.integers(0, 1)] * 3), min_size=2, max_size=60)


def _multi(labels: list[tuple[int, ...]]) -> Split:
    return Split(_split([0] * len(labels)).images, np.array(labels, np.uint8))


@settings(max_examples=100, deadline=None)
@given(rows, st.floats(0.01, 0.99), st.integers(0, 1000))
def test_of_several_labels_every_combination_has_its_share(
    labels: list[tuple[int, ...]], fraction: float, seed: int
):
    total = round(len(labels) * fraction)
    if total == len(labels):
        with pytest.raises(UsageError, match="leaves none to train on"):
            hold_out(_multi(labels), fraction, seed)
        return
    train, validation = hold_out(_multi(labels), fraction, seed)
    assert len(validation) == total
    assert sorted(_positions(train) + _positions(validation)) == list(range(len(labels)))
    for part in (train, validation):
        np.testing.assert_array_equal(part.labels, np.array(labels)[_positions(part)])
        assert part.labels.dtype == np.uint8
    held = list(map(tuple, validation.labels.tolist()))
    for combination in set(labels):
        share = labels.count(combination) * total / len(labels)
        assert abs(held.count(combination) - share) < 1


def test_some_examples_of_several_labels_are_taken():
    part = take(_multi([(1, 0, 0), (0, 1, 1)] * 10), 10, 0)
    np.testing.assert_array_equal(part.labels.sum(0), [5, 5, 5])
