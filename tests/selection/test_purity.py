"""Purity of clusters by source, by hand and against shuffled sources."""

import numpy as np

from s2l.selection.purity import purity, purity_of, shuffled
from toy_losses import make_ids


def test_each_cluster_counts_by_its_rows():
    label_N = np.array([0, 0, 0, 1, 1, 1, 1, 2])
    source_N = np.array([5, 5, 0, 0, 0, 0, 5, 2])
    assert purity(label_N, source_N) == (2 + 3 + 1) / 8


def test_one_cluster_is_as_pure_as_the_largest_source_is_large():
    assert purity(np.zeros(10, dtype=np.int64), np.array([1] * 7 + [0] * 3)) == 0.7


def test_a_row_a_cluster_is_pure_even_if_sources_are_shuffled():
    found = purity_of(np.arange(12), np.arange(12) % 3, make_ids(12), seed=0)
    assert (found.clusters, found.purity, found.shuffled) == (12, 1, 1)


def test_clusters_that_follow_the_sources_are_purer_than_by_chance():
    source_N = np.arange(900) % 3
    found = purity_of(source_N.copy(), source_N, make_ids(900), seed=0)
    assert found.purity == 1
    assert 1 / 3 <= found.shuffled < 0.45


def test_shuffling_keeps_the_sources_and_hangs_on_the_seed():
    source_N = np.arange(60) % 4
    one, again, other = (shuffled(source_N, make_ids(60), seed) for seed in (0, 0, 1))
    assert sorted(one.tolist()) == sorted(source_N.tolist())
    assert one.tolist() == again.tolist()
    assert one.tolist() != other.tolist() != source_N.tolist()
