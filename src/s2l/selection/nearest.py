"""The nearest centroid of every row, exactly, ties to the lowest: our own kernel, and faiss's search with a check.

A squared distance less the row's own squared length is |c|² − 2 x·c, here the *score*: a whole number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from s2l.errors import SettingsError
from s2l.extras import to_install

Kernel = Literal["own", "faiss"]
Search = Callable[[Float[np.ndarray, "n D"]], tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]]
"""Rows on the grid → cluster and score of each."""

PRODUCT = 2**18
"""Size of one matrix product: OpenBLAS shares larger ones over threads, of which every core has one already."""
SCORES = 2**17
"""Scores at a time, which stay in a core's cache."""
EXACT = 2.0**53


def searcher(kernel: Kernel, centroids_KD: Float[np.ndarray, "K D"], spread_D: Float[np.ndarray, " D"]) -> Search:
    """The search among these centroids, for rows between 0 and `spread_D`; every kernel gives the same answers.

    Raises SettingsError where faiss is asked for and not installed.
    """
    own = _own(centroids_KD, spread_D)
    return own if kernel == "own" or len(centroids_KD) == 1 else _faiss(centroids_KD, spread_D, own)


def load_faiss() -> Any:
    """The module; raises SettingsError where it is not installed."""
    try:
        import faiss
    except ImportError:
        raise SettingsError(f"kernel=faiss needs faiss-cpu: {to_install('faiss')}, or leave kernel=own") from None
    return faiss


@contextmanager
def _one_thread(faiss: Any) -> Iterator[None]:
    """A block in which faiss uses no thread but this one, which has its chunk of the rows."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _own(centroids_KD: Float[np.ndarray, "K D"], spread_D: Float[np.ndarray, " D"]) -> Search:
    """One float64 product per block of rows: the cluster's number rides in the low bits of its score.

    So the lowest number is at once the nearest cluster, the lowest of those as near, and its distance. Where the bits
    do not suffice (losses hundreds of nats apart) the cluster is searched for in the scores.
    """
    n_clusters, n_features = centroids_KD.shape
    norms_K = np.square(centroids_KD).sum(axis=1)
    bits = max(1, (n_clusters - 1).bit_length())
    largest = float((norms_K + 2 * np.abs(centroids_KD) @ spread_D).max()) + 1
    packed = largest * 2**bits <= EXACT
    matrix_KE = np.column_stack([-2 * centroids_KD, norms_K])
    if packed:
        matrix_KE *= 2**bits
        matrix_KE[:, -1] += np.arange(n_clusters)
    rows = max(16, PRODUCT // matrix_KE.size)
    at_once = max(1, SCORES // (rows * n_clusters))

    def search(grid_nD: Float[np.ndarray, "n D"]) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        n = len(grid_nD)
        extended = np.zeros((-(-n // rows) * rows, n_features + 1))
        extended[:n, :-1], extended[:n, -1] = grid_nD, 1
        blocks = extended.reshape(-1, rows, n_features + 1).transpose(0, 2, 1)
        lowest, label = np.empty((2, len(blocks), rows))
        for start in range(0, len(blocks), at_once):
            part = slice(start, start + at_once)
            scores = matrix_KE @ blocks[part]
            scores.min(axis=1, out=lowest[part])
            if not packed:
                label[part] = scores.argmin(axis=1)
        score_n = lowest.ravel()[:n].astype(np.int64)
        if packed:
            return score_n & (2**bits - 1), score_n >> bits
        return label.ravel()[:n].astype(np.int64), score_n

    return search


def _faiss(centroids_KD: Float[np.ndarray, "K D"], spread_D: Float[np.ndarray, " D"], own: Search) -> Search:
    """faiss proposes two clusters in float32; where its second may be as near as its first, our own search decides.

    The error of a float32 squared distance in D dimensions is below (D + 16) 2⁻²³ (|x| + |c|)².
    """
    faiss = load_faiss()
    middle_D = np.rint(spread_D / 2)
    index = faiss.IndexFlatL2(len(middle_D))
    index.add((centroids_KD - middle_D).astype(np.float32))
    reach = np.linalg.norm(centroids_KD - middle_D, axis=1).max()
    unit_error = (len(middle_D) + 16) * 2.0**-23

    def search(grid_nD: Float[np.ndarray, "n D"]) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        centred_nD = grid_nD - middle_D
        with _one_thread(faiss):
            approximate_n2, label_n2 = index.search(centred_nD.astype(np.float32), 2)
        label_n = label_n2[:, 0]
        squared_n = np.square(grid_nD - centroids_KD[label_n]).sum(axis=1)
        error_n = unit_error * (np.linalg.norm(centred_nD, axis=1) + reach) ** 2
        score_n = (squared_n - np.square(grid_nD).sum(axis=1)).astype(np.int64)
        unsure = np.flatnonzero(~(squared_n < approximate_n2[:, 1] - error_n))
        if len(unsure):
            label_n[unsure], score_n[unsure] = own(grid_nD[unsure])
        return label_n, score_n

    return search
