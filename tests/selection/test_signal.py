"""Trajectories that carry signal are told from noise, flat losses and diverged training."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selection_toys import record
from sklearn.metrics import adjusted_rand_score

from s2l.selection.signal import adjusted_rand, signal
from toy_losses import decaying

RNG = np.random.default_rng(0)
LEVELS = RNG.gamma(4, 0.4, (600, 1))
TIME = np.linspace(1 / 12, 1, 12)


def signal_of(losses_NT):
    return signal(record(losses_NT).trajectories, 100, seed=0)


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("checkpoints", [2, 3, 12])
def test_falling_losses_at_differing_rates_are_strong(checkpoints, noise):
    assert signal_of(decaying(600, checkpoints, noise=noise)).weak == ()


@pytest.mark.parametrize(
    ("losses_NT", "reason"),
    [
        (2 + RNG.normal(0, 0.3, (600, 12)), "even when shuffled"),
        (2 + np.exp(-3 * TIME) + RNG.normal(0, 0.3, (600, 12)), "agree to"),
        (LEVELS + RNG.normal(0, 0.02, (600, 12)), "hardly moved"),
        (np.full((600, 12), 2.0), "hardly moved"),
        (LEVELS + 2 * TIME**2 * RNG.lognormal(0, 0.5, (600, 1)), "diverged"),
        (2 + np.cumsum(np.abs(RNG.normal(0, 0.3, (600, 12))), axis=1), "diverged"),
        (decaying(600, 1), "one checkpoint alone"),
        (np.ones((1, 3)), "hardly moved"),
        (np.zeros((5, 3)), "hardly moved"),
    ],
)
def test_what_is_not_signal_is_said_loudly(losses_NT, reason):
    found = signal_of(np.abs(losses_NT))
    assert reason in found.sentence
    assert found.sentence.startswith("WEAK SIGNAL: ")


def test_the_fall_is_of_the_mean_over_tokens():
    trajectories = record(np.array([[4.0, 2.0], [2.0, 1.0]])).trajectories
    weighted = replace(trajectories, tokens_N=np.array([1, 7]))
    found = signal(weighted, 100, seed=0)
    assert found.loss_first == (16 + 8) / 8
    assert found.loss_fall == 0.5


def test_halves_need_two_checkpoints_at_least_in_one_of_them():
    assert signal_of(decaying(600, 2)).agreement is None
    assert signal_of(decaying(600, 3)).agreement > 0.2


def test_it_goes_into_json_and_is_the_same_again():
    found = signal_of(decaying(600))
    assert json.loads(json.dumps(asdict(found)))["weak"] == []
    assert found == signal_of(decaying(600))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_the_adjusted_rand_index_is_scikit_learns(pairs):
    ours, other = np.array(pairs).T
    assert adjusted_rand(ours, other) == pytest.approx(adjusted_rand_score(ours, other))
