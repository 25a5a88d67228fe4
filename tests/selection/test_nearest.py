"""The nearest centroid: the naive formula, exact where float64 rounds, the same from every kernel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from s2l.selection.nearest import searcher
from toy_losses import decaying

KERNELS = ["own", "faiss"]
GRID_ROWS = hnp.arrays(np.float64, st.tuples(st.integers(4, 40), st.integers(1, 4)), elements=st.integers(0, 6))


def naive(grid_ND, centroids_KD):
    squared_NK = np.square(grid_ND[:, None] - centroids_KD[None]).sum(axis=2)
    return squared_NK.argmin(axis=1), squared_NK.min(axis=1)


def check(kernel, grid_ND, centroids_KD):
    spread_D = np.maximum(grid_ND.max(axis=0), centroids_KD.max(axis=0))
    label_N, score_N = searcher(kernel, centroids_KD, spread_D)(grid_ND)
    naive_label_N, squared_N = naive(grid_ND, centroids_KD)
    assert label_N.tolist() == naive_label_N.tolist()
    assert (score_N + np.square(grid_ND).sum(axis=1)).tolist() == squared_N.tolist()


@pytest.mark.parametrize("kernel", KERNELS)
@settings(deadline=None)
@given(GRID_ROWS, st.integers(1, 4), st.sampled_from([1, 1000, 2**20]))
def test_it_equals_the_naive_formula_and_ties_go_to_the_lowest(kernel, grid_ND, n_clusters, scale):
    check(kernel, grid_ND * scale, grid_ND[:n_clusters] // 2 * 2 * scale)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("n_clusters", [1, 2, 100, 700])
@pytest.mark.parametrize("unit", [4096, 2**19])
def test_whatever_the_number_of_clusters_and_however_far_the_losses(kernel, n_clusters, unit):
    grid_ND = np.rint(np.minimum(decaying(1500), 7) * unit)
    check(kernel, grid_ND, grid_ND[:n_clusters])


@pytest.mark.parametrize("kernel", KERNELS)
def test_distances_are_exact_where_float64_alone_would_round(kernel):
    far = np.array([[0, 0], [2895 * 4096, 2896 * 4096], [2895 * 4096, 2896 * 4096 + 1]], dtype=np.float64)
    _, score_N = searcher(kernel, np.array([[0.0, 1.0], [0.0, 3.0]]), far[2])(far)
    assert score_N.tolist() == [1, 1 - 2 * 3 + 8 - 6 * 2896 * 4096 + 6, 9 - 6 * (2896 * 4096 + 1)]


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_difference_that_float32_cannot_see_decides(kernel):
    row = np.array([[2.0**23, 5.0], [2.0**23, 7.0]])
    label_N, _ = searcher(kernel, np.array([[0.0, 8.0], [0.0, 4.0]]), row[1])(row)
    assert label_N.tolist() == [1, 0]
