"""Stability over seeds of k-means and of the draw, each with the other fixed."""

import numpy as np
import pytest

from s2l.selection.methods import get
from s2l.selection.stability import Shared, shared, stability


def those(*rows):
    return np.isin(np.arange(8), rows)


class Draws:
    """Keeps the two seeds of every draw; which rows it gives hangs on the sum of both."""

    def __init__(self):
        self.asked = []

    def __call__(self, settings, seed):
        self.asked.append((getattr(settings, "cluster_seed", None), seed))
        return those(0, 1 + sum(part or 0 for part in self.asked[-1]) % 7)


def test_shares_are_of_the_rows_kept():
    found = shared(those(0, 1, 2, 3), [those(0, 1, 2, 3), those(3, 4, 5, 6), those(2, 3)])
    assert (found.mean, found.least, found.most) == (pytest.approx(1.75 / 3), 0.25, 1)
    assert shared(those(0), []) is None


def test_with_clusters_one_seed_moves_while_the_other_stays():
    draw = Draws()
    stability(draw, get("s2l").parse({}), 4, 2, those(0, 1))
    assert draw.asked == [(5, 4), (6, 4), (4, 5), (4, 6)]


def test_a_seed_of_the_clusters_own_is_the_one_that_stays():
    draw = Draws()
    stability(draw, get("xmas").parse({"cluster_seed": 9}), 4, 1, those(0, 1))
    assert draw.asked == [(10, 4), (9, 5)]


def test_without_clusters_there_is_the_draws_seed_alone():
    draw = Draws()
    found = stability(draw, get("random").parse({}), 0, 3, those(0, 1))
    assert draw.asked == [(None, 1), (None, 2), (None, 3)]
    assert found.clusters is None
    assert found.draws == Shared(0.5, 0.5, 0.5)


def test_no_other_seed_tells_nothing():
    found = stability(Draws(), get("s2l").parse({}), 0, 0, those(0))
    assert (found.clusters, found.draws) == (None, None)
