"""k-means: right (scikit-learn, the naive formula), exact, and the same whatever the order, chunks and threads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from selection_toys import decaying, make_ids
from sklearn.cluster import KMeans, kmeans_plusplus
from threadpoolctl import threadpool_limits

from s2l.errors import NumericsError, SettingsError
from s2l.selection import kmeans as module
from s2l.selection.kmeans import RESOLUTION, assign, kmeans, means, seed_rows, to_grid

GRID_ROWS = hnp.arrays(np.float64, st.tuples(st.integers(4, 40), st.integers(1, 4)), elements=st.integers(0, 6))


def separated(n_blobs, rows_each, seed=0):
    rng = np.random.default_rng(seed)
    blobs = rng.permutation(n_blobs)[:, None] * 5.0 + rng.normal(0, 0.3, (n_blobs, rows_each, 3)).swapaxes(0, 1)
    return blobs.reshape(-1, 3)


def naive_squared(points_ND, centroids_KD):
    return np.square(points_ND[:, None] - centroids_KD[None]).sum(axis=2)


@given(GRID_ROWS, st.integers(1, 4))
def test_assignment_equals_the_naive_formula_and_ties_go_to_the_lowest(grid_ND, n_clusters):
    centroids_KD = grid_ND[:n_clusters] // 2 * 2
    points = to_grid(grid_ND * RESOLUTION, make_ids(len(grid_ND)))
    label_N, squared_N = assign(points, centroids_KD - points.origin_D)
    naive_NK = naive_squared(grid_ND, centroids_KD)
    assert label_N.tolist() == naive_NK.argmin(axis=1).tolist()
    assert squared_N.tolist() == naive_NK.min(axis=1).tolist()


def test_distances_are_exact_where_float64_alone_would_round():
    far = np.array([[0.0, 0.0], [2895.0, 2896.0], [2895.0, 2896.0 + RESOLUTION]])
    _, squared_N = assign(to_grid(far, make_ids(3)), np.zeros((1, 2)))
    units = [(0, 0), (2895 * 4096, 2896 * 4096), (2895 * 4096, 2896 * 4096 + 1)]
    assert squared_N.tolist() == [x * x + y * y for x, y in units]


def test_one_step_equals_the_naive_means_on_the_grid():
    losses_NT = decaying(400)
    points = to_grid(losses_NT, make_ids(400))
    label_N, _ = assign(points, points.grid_ND[:9])
    naive_KD = np.stack([np.rint(points.grid_ND[label_N == k].mean(axis=0)) for k in range(9)])
    assert np.array_equal(means(points, label_N, 9), naive_KD)


def test_scikit_learn_gives_the_same_labels_from_the_same_centroids():
    rows_ND = np.rint(separated(8, 50) / RESOLUTION) * RESOLUTION
    initial_KD = rows_ND[np.random.default_rng(1).choice(len(rows_ND), 8, replace=False)]
    ours = kmeans(rows_ND, make_ids(len(rows_ND)), 8, 0, initial_KD=initial_KD, tolerance=0.0)
    theirs = KMeans(8, init=initial_KD, n_init=1, tol=0, max_iter=300).fit(rows_ND)
    assert len(set(zip(ours.label_N.tolist(), theirs.labels_.tolist(), strict=True))) == 8
    assert ours.inertia == pytest.approx(theirs.inertia_, rel=1e-6)
    assert ours.stopped == "assignments"


def test_scikit_learn_ends_at_the_same_inertia_on_loss_trajectories():
    losses_NT = np.rint(decaying(1500) / RESOLUTION) * RESOLUTION
    initial_KD = losses_NT[np.random.default_rng(1).choice(1500, 20, replace=False)]
    ours = kmeans(losses_NT, make_ids(1500), 20, 0, initial_KD=initial_KD, tolerance=0.0, max_iterations=8)
    theirs = KMeans(20, init=initial_KD, n_init=1, tol=0, max_iter=7).fit(losses_NT)
    pairs = set(zip(ours.label_N.tolist(), theirs.labels_.tolist(), strict=True))
    assert ours.inertia == pytest.approx(theirs.inertia_, rel=1e-3)
    assert len(pairs) < 30, "all but a few rows on a border are in the same clusters"


def test_inertia_is_within_two_percent_of_scikit_learn_over_ten_seeds():
    losses_NT = decaying(5000)
    ours = [kmeans(losses_NT, make_ids(5000), 30, seed).inertia for seed in range(10)]
    theirs = [KMeans(30, n_init=1, tol=1e-6, max_iter=100, random_state=s).fit(losses_NT).inertia_ for s in range(10)]
    assert np.mean(ours) < 1.02 * np.mean(theirs)


def test_inertia_of_a_small_pool_is_that_of_scikit_learn_from_the_same_kind_of_seeding():
    losses_NT = decaying(1500)
    ours = [kmeans(losses_NT, make_ids(1500), 30, seed).inertia for seed in range(10)]
    plain = [kmeans_plusplus(losses_NT, 30, random_state=seed, n_local_trials=1)[0] for seed in range(10)]
    theirs = [KMeans(30, init=start, n_init=1, tol=1e-6, max_iter=100).fit(losses_NT).inertia_ for start in plain]
    assert np.mean(ours) < 1.02 * np.mean(theirs)


@pytest.mark.parametrize("n_clusters", [1, 7, 100])
def test_chunks_and_threads_do_not_change_one_bit(monkeypatch, n_clusters):
    losses_NT = decaying(2000)
    first = kmeans(losses_NT, make_ids(2000), n_clusters, 3)
    for products, threads in [(1, 1), (10**9, 1), (10**9, 2)]:
        monkeypatch.setattr(module, "PRODUCTS", products)
        with threadpool_limits(threads):
            again = kmeans(losses_NT, make_ids(2000), n_clusters, 3)
        assert again.label_N.tobytes() == first.label_N.tobytes()
        assert again.distance_N.tobytes() == first.distance_N.tobytes()
        assert again.inertia == first.inertia


def test_clusters_are_numbered_by_size_and_smallest_id():
    clustering = kmeans(np.array([[0.0], [9.0], [5.0], [0.0], [9.0], [0.0], [7.0]]), make_ids(7), 4, 0)
    assert clustering.sizes_K.tolist() == [1, 1, 2, 3]
    assert clustering.label_N.tolist() == [3, 2, 0, 3, 2, 3, 1]
    assert clustering.centroids_KD[:, 0].tolist() == [5, 7, 9, 0]


def test_distances_and_inertia_are_those_of_the_own_centroid():
    losses_NT = decaying(300)
    c = kmeans(losses_NT, make_ids(300), 10, 0)
    own_N = np.linalg.norm(losses_NT - c.centroids_KD[c.label_N], axis=1)
    assert c.distance_N == pytest.approx(own_N, abs=6 * RESOLUTION)
    assert c.inertia == pytest.approx(np.square(c.distance_N).sum())


def test_an_emptied_cluster_takes_the_row_that_is_farthest():
    rows_ND = np.array([[0.0], [1.0], [2.0], [10.0], [30.0]])
    c = kmeans(rows_ND, make_ids(5), 3, 0, initial_KD=np.array([[1.0], [500.0], [700.0]]))
    assert c.sizes_K.tolist() == [1, 1, 3]
    assert c.label_N.tolist() == [2, 2, 2, 0, 1]
    assert c.distance_N[3:].tolist() == [0, 0]


def test_an_emptied_cluster_never_empties_another():
    c = kmeans(np.array([[0.0], [9.0], [9.0]]), make_ids(3), 3, 0, initial_KD=np.array([[0.0], [9.0], [9.0]]))
    assert c.sizes_K.tolist() == [1, 1, 1]


def test_more_clusters_than_distinct_rows_is_an_error_that_names_both():
    rows_ND = np.array([[1.0], [2.0], [1.0], [2.0 + RESOLUTION / 4]])
    with pytest.raises(SettingsError, match=r"^3 clusters cannot be made of 2 distinct loss trajectories: ask for 2"):
        kmeans(rows_ND, make_ids(4), 3, 0)
    assert kmeans(rows_ND, make_ids(4), 3, 0, at_most=True).sizes_K.tolist() == [2, 2]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_names_its_row(value):
    ids = make_ids(3)
    with pytest.raises(NumericsError, match=ids[1].decode()):
        kmeans(np.array([[1.0], [value], [2.0]]), ids, 1, 0)


@pytest.mark.parametrize("far", [5000, 1e300])
def test_losses_beyond_exact_arithmetic_are_refused(far):
    with pytest.raises(NumericsError, match=f"lie {far:.4g} apart".replace("+", r"\+")):
        kmeans(np.array([[0.0, 1.0], [far, 1.0]]), make_ids(2), 1, 0)


def test_the_rule_that_stopped_it_is_recorded():
    losses_NT, ids = decaying(3000, noise=0.3), make_ids(3000)
    assert kmeans(losses_NT, ids, 30, 0, max_iterations=2).stopped == "iterations"
    assert kmeans(losses_NT, ids, 30, 0, tolerance=0.01).stopped == "inertia"
    assert kmeans(losses_NT, ids, 2, 0, tolerance=0.0).stopped == "assignments"


def test_seeds_are_sampled_by_squared_distance():
    points = to_grid(np.array([[0.0], [1.0], [3.0]]), make_ids(3))
    draws = [tuple(seed_rows(points, make_ids(3), 2, seed).tolist()) for seed in range(6000)]
    for first, odds in {0: (0, 1, 9), 1: (1, 0, 4), 2: (9, 4, 0)}.items():
        seconds = [second for start, second in draws if start == first]
        assert len(seconds) == pytest.approx(2000, abs=150)
        for second, odd in enumerate(odds):
            assert seconds.count(second) / len(seconds) == pytest.approx(odd / sum(odds), abs=0.035)


@settings(max_examples=30)
@given(GRID_ROWS, st.integers(0, 5))
def test_seeds_are_distinct_and_as_many_as_distinct_rows(grid_ND, seed):
    ids = make_ids(len(grid_ND))
    rows = seed_rows(to_grid(grid_ND, ids), ids, len(grid_ND), seed)
    assert len(rows) == len(np.unique(grid_ND, axis=0)) == len(np.unique(grid_ND[rows], axis=0))


def test_a_little_noise_keeps_the_seeds():
    losses_NT, ids = decaying(5000), make_ids(5000)
    noisy_NT = losses_NT + np.random.default_rng(1).normal(0, 1e-3, losses_NT.shape)
    rows, again = (set(seed_rows(to_grid(x, ids), ids, 50, 0).tolist()) for x in (losses_NT, noisy_NT))
    assert len(rows & again) >= 45
