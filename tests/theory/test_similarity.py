"""Cosines inside groups against between them: by the formula, pair by pair, and on groups that are known."""

import numpy as np
import pytest

from s2l.errors import NumericsError
from s2l.theory.similarity import similarity
from toy_losses import make_ids


def planted(groups=12, rows=6, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(groups), rows)
    return rng.normal(size=(groups, 40))[label] + noise * rng.normal(size=(len(label), 40)), label


def by_pairs(vectors, label):
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    inside, between = {}, []
    for i in range(len(label)):
        for j in range(i):
            (inside.setdefault(label[i], []) if label[i] == label[j] else between).append(units[i] @ units[j])
    return np.mean([np.mean(cosines) for cosines in inside.values()]), np.mean(between)


def test_it_is_the_mean_over_pairs():
    vectors, label = planted(5, 4)
    label[:2] = 1  # groups of 2, 6, 4, 4, 4
    found = similarity(vectors, label, make_ids(20), seed=0)
    assert (found.inside, found.between) == pytest.approx(by_pairs(vectors, label))
    assert found.difference == found.inside - found.between
    assert (found.rows, found.groups) == (20, 5)


def test_groups_of_one_row_are_left_out():
    vectors, label = planted(5, 4)
    alone = np.append(label, [5, 9])
    found = similarity(np.concatenate([vectors, vectors[:2]]), alone, make_ids(22), seed=0)
    assert (found.rows, found.groups) == (20, 5)
    assert (found.inside, found.between) == pytest.approx(by_pairs(vectors, label))


def test_like_rows_in_a_group_are_seen_and_shuffling_ends_it():
    found = similarity(*planted(), make_ids(72), seed=0)
    low, high = found.interval
    assert 0.2 < low < found.difference < high < 0.8
    assert found.shuffled == pytest.approx(0, abs=0.01)
    assert found.shuffled_interval[0] < 0 < found.shuffled_interval[1] < low
    assert "are more alike than" in found.sentence("cluster")


def test_labels_that_mean_nothing_show_no_difference():
    vectors, label = planted(noise=50)
    found = similarity(vectors, label, make_ids(72), seed=0)
    assert "neither more nor less alike" in found.sentence("cluster")


def test_opposite_rows_in_a_group_are_less_alike():
    halves = np.random.default_rng(0).normal(size=(15, 40))
    found = similarity(np.concatenate([halves, -halves]), np.tile(np.arange(15), 2), make_ids(30), seed=0)
    assert found.inside == pytest.approx(-1)
    assert "are less alike than those of different sources" in found.sentence("source")


def test_row_order_and_length_of_gradients_do_not_matter():
    vectors, label = planted()
    ids, order = make_ids(72), np.random.default_rng(1).permutation(72)
    first = similarity(vectors, label, ids, seed=4)
    second = similarity(7 * vectors[order], label[order], ids[order], seed=4)
    assert (second.inside, second.interval, second.shuffled_interval) == (
        pytest.approx(first.inside),
        pytest.approx(first.interval),
        pytest.approx(first.shuffled_interval),
    )


def test_one_group_alone_has_nothing_to_compare_with():
    vectors, _ = planted(1, 5)
    assert similarity(vectors, np.zeros(5, dtype=int), make_ids(5), seed=0) is None
    assert similarity(vectors, np.array([0, 0, 0, 0, 1]), make_ids(5), seed=0) is None


def test_a_gradient_that_is_no_number_is_an_error_and_one_of_zeros_is_like_nothing():
    vectors, label = planted(3, 2)
    vectors[0] = 0
    found = similarity(vectors, label, make_ids(6), seed=0)
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    assert found.inside == pytest.approx((0 + units[2] @ units[3] + units[4] @ units[5]) / 3)
    vectors[0, 0] = np.nan
    with pytest.raises(NumericsError, match="not a finite number"):
        similarity(vectors, label, make_ids(6), seed=0)
