"""The error of a subset's mean gradient, against sums of the rows' own gradients."""

from contextlib import closing

import numpy as np
import pytest
import torch

from s2l.proxy.workers import Workers
from s2l.scoring.batching import collate
from s2l.scoring.flow import own_gradients
from s2l.theory.meangradient import Estimate, MeanGradient, Subset, mean_gradients, weighted_gradient
from s2l.theory.sample import beside_random
from toy_losses import make_ids
from toy_models import ARCHITECTURES, toy_model, toy_tokens

TOKENS = toy_tokens(12)
ALL = np.arange(len(TOKENS))
CLUSTER = np.array([0] * 8 + [1] * 3 + [2])
KEPT = np.isin(ALL, [1, 5, 8, 9])


def own(model):
    """(N, P): each row's own gradient, float64."""
    parameters = list(model.parameters())
    return np.stack(
        [
            torch.cat([part.reshape(-1) for part in gradients]).double().numpy()
            for row in ALL
            for gradients in own_gradients(model, collate(TOKENS, ALL[[row]]), parameters)
        ]
    )


def flat(gradient):
    return torch.cat([part.reshape(-1) for part in gradient]).numpy()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("batch_tokens", [1, 100, 10**6])
def test_a_weighted_gradient_is_the_weighted_sum_of_the_rows_own(architecture, batch_tokens):
    model = toy_model(architecture)
    weights = np.random.default_rng(0).random(len(ALL))
    expected = weights @ own(model)
    path = "trunk" if architecture in {"builtin", "llama-tied", "qwen3", "gpt2"} else "whole"
    for count in (1, 2):
        with closing(Workers(model, count, 2)) as workers:
            found = flat(weighted_gradient(workers, TOKENS, ALL, weights, batch_tokens, path))
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_weights_are_alike_or_by_the_rows_of_the_cluster_for_each_drawn():
    subset = Subset("4", CLUSTER, KEPT, np.zeros((0, 12), dtype=bool))
    np.testing.assert_allclose(subset.unweighted_N[KEPT], [1 / 4] * 4)
    np.testing.assert_allclose(subset.weighted_N[KEPT], np.array([4, 4, 1.5, 1.5]) / 11)
    assert subset.weighted_N.sum() == pytest.approx(1)
    assert subset.unseen == 1
    for weights in (subset.unweighted_N, subset.weighted_N):
        assert not weights[~KEPT].any()


def test_errors_and_cosines_are_those_of_the_formula():
    model = toy_model()
    rows = own(model)
    subset = beside_random("4", CLUSTER, KEPT, make_ids(12), draws=5, seed=0)
    (found,) = mean_gradients(model, TOKENS, ALL, [subset], 100)
    pool = rows.mean(axis=0)
    estimates = [found.unweighted, found.weighted, *found.random]
    means = [rows[KEPT].mean(axis=0), np.array([4, 4, 1.5, 1.5]) @ rows[KEPT] / 11]
    means += [rows[drawn].mean(axis=0) for drawn in subset.drawn_DN]
    for estimate, mean in zip(estimates, means, strict=True):
        assert estimate.error == pytest.approx(np.linalg.norm(mean - pool) / np.linalg.norm(pool), rel=1e-4)
        assert estimate.cosine == pytest.approx(mean @ pool / np.linalg.norm(mean) / np.linalg.norm(pool), rel=1e-4)
    assert found.norm == pytest.approx(np.linalg.norm(pool), rel=1e-4)
    assert found.random_mean == pytest.approx(np.mean([draw.error for draw in found.random]))
    assert (found.rows, found.pool, found.unseen) == (4, 12, 1)


def test_the_pool_itself_has_no_error():
    everything = Subset("100%", CLUSTER, np.ones(12, dtype=bool), np.ones((2, 12), dtype=bool))
    (found,) = mean_gradients(toy_model(), TOKENS, ALL, [everything], 100)
    for estimate in (found.unweighted, found.weighted, *found.random):
        assert estimate.error < 1e-5
        assert estimate.cosine == pytest.approx(1)


def test_one_row_of_each_of_two_equal_groups_weighted_is_the_pool_of_four():
    """Rows that are truly redundant: a cluster's rows all alike."""
    twice = np.array([3, 3, 7, 7])
    subset = Subset("2", np.array([0, 0, 1, 1]), np.array([1, 0, 1, 0], dtype=bool), np.eye(4, dtype=bool)[:2])
    (found,) = mean_gradients(toy_model(), TOKENS, twice, [subset], 1000)
    assert found.unweighted.error < 1e-5
    assert found.random[0].error > 0.1


def test_the_sentence_goes_by_what_random_draws_have():
    def told(error):
        draws = tuple(Estimate(error, 0.9) for error in (0.19, 0.20, 0.21))
        means = MeanGradient("11%", 4, 12, 1.0, Estimate(error, 0.9), Estimate(0.2, 0.9), 0, draws, 0.2, (0.15, 0.25))
        return means.sentences[0]

    assert "is nearer to the pool's mean gradient than a random one" in told(0.1)
    assert "rank 1 of 4" in told(0.1)
    assert "is farther from" in told(0.3)
    assert "rank 4 of 4" in told(0.3)
    assert "is neither nearer" in told(0.195)
    assert "error 0.195, random 0.200 (0.150 to 0.250); rank 2 of 4" in told(0.195)
