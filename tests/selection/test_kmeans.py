"""k-means: right (scikit-learn, the naive formula), exact, and the same whatever the order, chunks and threads."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.cluster import KMeans, kmeans_plusplus
from threadpoolctl import threadpool_limits

from s2l.errors import NumericsError, SettingsError
from s2l.selection import chunks, nearest
from s2l.selection.grid import RESOLUTION
from s2l.selection.kmeans import kmeans
from s2l.trajectories import arrays
from toy_losses import decaying, make_ids

GRID_ROWS = hnp.arrays(np.float64, st.tuples(st.integers(4, 40), st.integers(1, 4)), elements=st.integers(0, 6))


def separated(n_blobs, rows_each, seed=0):
    rng = np.random.default_rng(seed)
    blobs = rng.permutation(n_blobs)[:, None] * 5.0 + rng.normal(0, 0.3, (n_blobs, rows_each, 3)).swapaxes(0, 1)
    return blobs.reshape(-1, 3)


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


@pytest.mark.parametrize("kernel", ["own", "faiss"])
@pytest.mark.parametrize("start", ["kmeans++", "random"])
@pytest.mark.parametrize("n_clusters", [1, 7, 100])
def test_kernel_chunks_threads_and_where_the_grid_lies_do_not_change_one_bit(
    monkeypatch, tmp_path, n_clusters, start, kernel
):
    losses_NT = decaying(2000)
    first = kmeans(losses_NT, make_ids(2000), n_clusters, 3, start=start)
    for chunk, task, blas_threads, in_memory in [(7, 3, 1, 2**30), (500, 1, 2, 0), (10**5, 1, 1, 0)]:
        monkeypatch.setattr(chunks, "CHUNK", chunk)
        monkeypatch.setattr(chunks, "TASK", task)
        monkeypatch.setattr(arrays, "IN_MEMORY", in_memory)
        monkeypatch.setattr(nearest, "PRODUCT", 10 ** (2 + blas_threads))
        with threadpool_limits(blas_threads):
            again = kmeans(losses_NT, make_ids(2000), n_clusters, 3, start=start, kernel=kernel, folder=tmp_path)
        assert again.label_N.tobytes() == first.label_N.tobytes()
        assert again.distance_N.tobytes() == first.distance_N.tobytes()
        assert again.centroids_KD.tobytes() == first.centroids_KD.tobytes()
        assert again.inertia == first.inertia
    assert not list(tmp_path.iterdir())


def naive_lloyd(grid_ND, centroids_KD, iterations):
    for _ in range(iterations):
        squared_NK = np.square(grid_ND[:, None] - centroids_KD[None]).sum(axis=2)
        label_N = squared_NK.argmin(axis=1)
        squared_N = squared_NK.min(axis=1)
        for cluster in set(range(len(centroids_KD))) - set(label_N.tolist()):
            shared_N = np.bincount(label_N, minlength=len(centroids_KD))[label_N] > 1
            row = np.where(shared_N, squared_N, -1).argmax()
            label_N[row], squared_N[row], centroids_KD[cluster] = cluster, 0, grid_ND[row]
        found = label_N.copy(), squared_N.sum()
        centroids_KD = np.stack([np.rint(grid_ND[label_N == k].mean(axis=0)) for k in range(len(centroids_KD))])
    return found


@settings(max_examples=200, deadline=None)
@given(GRID_ROWS, st.integers(1, 4), st.integers(1, 4), st.sampled_from(["own", "faiss"]), st.data())
def test_it_is_the_naive_formula_with_ties_and_emptied_clusters(grid_ND, n_clusters, iterations, kernel, data):
    start = hnp.arrays(np.float64, (n_clusters, grid_ND.shape[1]), elements=st.integers(0, 9))
    initial_KD = data.draw(start)
    ours = kmeans(
        grid_ND * RESOLUTION,
        make_ids(len(grid_ND)),
        n_clusters,
        0,
        initial_KD=initial_KD * RESOLUTION,
        max_iterations=iterations,
        tolerance=0.0,
        kernel=kernel,
    )
    origin_D = np.minimum(grid_ND.min(axis=0), initial_KD.min(axis=0))  # a centre half-way is rounded to even from it
    label_N, inertia = naive_lloyd(grid_ND - origin_D, initial_KD - origin_D, ours.iterations)
    pairs = set(zip(ours.label_N.tolist(), label_N.tolist(), strict=True))
    assert len(pairs) == n_clusters == len(set(label_N.tolist()))
    assert ours.inertia == inertia * RESOLUTION**2


def test_rows_on_disk_are_clustered_as_in_memory(tmp_path):
    losses_NT = decaying(1000).astype(np.float32)
    losses_NT.tofile(tmp_path / "losses")
    on_disk = np.memmap(tmp_path / "losses", np.float32, mode="r", shape=losses_NT.shape)
    ours, again = (kmeans(features, make_ids(1000), 9, 0) for features in (losses_NT, on_disk))
    assert again.label_N.tobytes() == ours.label_N.tobytes()


def test_a_kernel_that_is_not_installed_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(SettingsError, match=r"^kernel=faiss needs faiss-cpu: pip install"):
        kmeans(decaying(5), make_ids(5), 2, 0, kernel="faiss")


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
