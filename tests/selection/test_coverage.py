"""Distances to the nearest chosen row against a plain loop, and the sample that they are taken of."""

import math

import numpy as np
import pytest

from s2l.selection import coverage
from s2l.selection.coverage import nearest_distances, sample
from s2l.selection.unit import UNITS, directions
from toy_losses import make_ids

RNG = np.random.default_rng(0)


def naive(points_SD, chosen_CD):
    return [min(math.dist(point, chosen) for chosen in chosen_CD.tolist()) for point in points_SD.tolist()]


@pytest.mark.parametrize("at_once", [2**24, 7, 1])
def test_distances_are_those_of_a_plain_loop_in_blocks_of_any_size(monkeypatch, at_once):
    monkeypatch.setattr(coverage, "AT_ONCE", at_once)
    points_SD, chosen_CD = RNG.normal(size=(40, 5)), RNG.normal(size=(6, 5))
    assert nearest_distances(points_SD, chosen_CD).tolist() == pytest.approx(naive(points_SD, chosen_CD))


def test_directions_of_embeddings_are_as_far_apart_as_their_angle_says():
    units_ND = directions(RNG.normal(size=(50, 8)).astype(np.float32)) / np.float32(UNITS)
    assert nearest_distances(units_ND, units_ND[:9]).tolist() == pytest.approx(naive(units_ND, units_ND[:9]))


def test_small_distances_far_from_the_origin_do_not_cancel():
    far_SD = 1e4 + np.arange(8.0)[:, None] * [1e-2, 1e-2]
    assert nearest_distances(far_SD, far_SD[:1]).tolist() == pytest.approx(naive(far_SD, far_SD[:1]), rel=1e-9)
    assert nearest_distances(far_SD, far_SD).tolist() == [0] * 8


def test_mean_and_95th_percentile_are_over_the_sampled_rows():
    points_N1 = np.arange(101.0)[:, None]
    kept_N = np.arange(101) == 0
    found = coverage.coverage(lambda rows: points_N1[rows], np.arange(101), kept_N)
    assert (found.mean, found.within_95) == (50, 95)
    assert coverage.coverage(lambda rows: points_N1[rows], np.array([3, 5]), kept_N).mean == 4


def test_the_sample_is_all_rows_or_a_keyed_20_000_of_them():
    ids = make_ids(20_500)
    assert sample(ids[:300], 0).tolist() == list(range(300))
    one, again, other = sample(ids, 0), sample(ids, 0), sample(ids, 1)
    assert len(set(one.tolist())) == coverage.SAMPLE
    assert one.tolist() == again.tolist() == sorted(one.tolist())
    assert one.tolist() != other.tolist()
    more = make_ids(21_000)
    shared = set(ids[one].tolist()) & set(more[sample(more, 0)].tolist())
    assert len(shared) > 19_000, "a few more rows change it little"
