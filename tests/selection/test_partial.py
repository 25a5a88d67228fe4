"""k-means of a sample and inside each source, and from rows at random, against the same done by hand."""

import faiss
import numpy as np
import pytest
from selection_toys import record

from s2l.progress import SILENT
from s2l.selection import keyed
from s2l.selection.grid import to_grid
from s2l.selection.grouping import ClusterSettings, by_trajectory
from s2l.selection.kmeans import kmeans
from s2l.selection.seeding import random_rows
from toy_losses import decaying, make_ids

LOSSES_NT = np.rint(decaying(600) * 2**12) / 2**12
RECORDED = record(LOSSES_NT)
IDS = RECORDED.trajectories.ids


def cluster(recorded=RECORDED, seed=0, **options):
    return by_trajectory(recorded, ClusterSettings(**options), 100, seed, SILENT)


def together(label_N):
    """Which rows share a cluster, whatever its number."""
    return {frozenset(np.flatnonzero(label_N == label).tolist()) for label in np.unique(label_N)}


def nearest(rows_ND, centroids_KD):
    return np.square(rows_ND[:, None] - centroids_KD).sum(axis=2).argmin(axis=1)


@pytest.mark.parametrize("options", [{"start": "kmeans++"}, {"start": "random"}, {"sample": 5}])
def test_inside_a_source_clusters_are_those_of_the_source_alone(options):
    clusters = cluster(clusters=8, inside="source", **options)
    assert len(clusters.sizes_K) == 16
    for source in range(2):
        rows = np.flatnonzero(RECORDED.source_N == source)
        if "sample" not in options:
            alone = kmeans(LOSSES_NT[rows], IDS[rows], 8, 0, **options).label_N
            assert together(clusters.label_N[rows]) == together(alone)
        assert len(together(clusters.label_N[rows])) == 8


def test_clusters_inside_sources_are_numbered_by_size_and_smallest_id():
    clusters = cluster(clusters=30, inside="source")
    first_K = [int(np.flatnonzero(clusters.label_N == number)[0]) for number in range(len(clusters.sizes_K))]
    assert np.array_equal(np.bincount(clusters.label_N), clusters.sizes_K)
    order = sorted(zip(clusters.sizes_K.tolist(), first_K, strict=True))
    assert order == list(zip(clusters.sizes_K.tolist(), first_K, strict=True))
    distance_N = np.linalg.norm(LOSSES_NT - clusters.centroids_KD[clusters.label_N], axis=1)
    np.testing.assert_allclose(clusters.distance_N, distance_N, atol=1e-9)


def test_a_source_with_few_distinct_trajectories_makes_fewer_clusters():
    losses_NT = np.where(RECORDED.source_N[:, None] == 0, np.rint(LOSSES_NT[:, :1]), LOSSES_NT)
    recorded = record(losses_NT)
    distinct = len(np.unique(losses_NT[recorded.source_N == 0], axis=0))
    clusters = cluster(recorded, clusters=30, inside="source", start="random")
    assert distinct < 30
    assert len(set(clusters.label_N[recorded.source_N == 0].tolist())) == distinct
    assert len(clusters.sizes_K) == distinct + 30


def test_of_a_sample_every_row_goes_to_the_nearest_centroid_that_the_sample_gave():
    clusters = cluster(clusters=6, sample=20, iterations=4)
    sample = sorted(np.argsort(keyed.keys(0, "kmeans/sample", IDS))[:120].tolist())
    fitted = kmeans(LOSSES_NT[sample], IDS[sample], 6, 0, max_iterations=4)
    assert together(clusters.label_N) == together(nearest(LOSSES_NT, fitted.centroids_KD))
    assert (clusters.iterations, clusters.stopped) == (4, "iterations")
    assert together(clusters.label_N) != together(cluster(clusters=6, iterations=4).label_N)


def test_a_sample_as_large_as_the_pool_changes_nothing():
    assert np.array_equal(cluster(clusters=6, sample=100).label_N, cluster(clusters=6).label_N)


def test_row_order_does_not_matter_to_the_sample_or_the_start():
    keys_N = keyed.keys(3, "kmeans/start", IDS)
    points = to_grid(LOSSES_NT, IDS)
    few = np.arange(0, 600, 2)
    assert keys_N[random_rows(points, IDS, 9, 3)].tolist() == sorted(keys_N.tolist())[:9]
    assert (
        keys_N[few][random_rows(to_grid(LOSSES_NT[few], IDS[few]), IDS[few], 9, 3)].tolist()
        == sorted(keys_N[few].tolist())[:9]
    )


def test_starting_rows_are_uniform_and_never_alike():
    rows_ND = np.array([[0.0], [0.0], [1.0], [2.0]])
    points = to_grid(rows_ND, make_ids(4))
    draws = [random_rows(points, make_ids(4), 4, seed).tolist() for seed in range(2000)]
    assert all(sorted(rows_ND[draw, 0]) == [0, 1, 2] for draw in draws)
    firsts = np.bincount([draw[0] for draw in draws], minlength=4)
    assert firsts.tolist() == pytest.approx([500] * 4, abs=80)


def test_iterations_of_faiss_are_one_fewer_than_ours():
    rows_ND = LOSSES_NT.astype(np.float32)
    start_KD = rows_ND[::75]
    theirs = faiss.Kmeans(6, 8, niter=3, max_points_per_centroid=1000)
    theirs.train(rows_ND, init_centroids=start_KD)
    label_N = theirs.index.search(rows_ND, 1)[1][:, 0]
    ours = [kmeans(LOSSES_NT, IDS, 8, 0, initial_KD=start_KD.astype(float), max_iterations=n) for n in (3, 4, 5)]
    assert [together(clustering.label_N) == together(label_N) for clustering in ours] == [False, True, False]
