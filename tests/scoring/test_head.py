"""The fused statistics against the plain formulas in float64."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Float, Int

from s2l.scoring.head import concluded, nothing, statistics, take_out, update
from s2l.types import STATISTICS


def plainly(logits_RV: Float[np.ndarray, "R V"], target_R: Int[np.ndarray, " R"]) -> dict[str, np.ndarray]:
    """Softmax first, then each statistic as its definition says, in float64."""
    z_RV = logits_RV.astype(np.float64)
    rows_R = np.arange(len(z_RV))
    log_p_RV = z_RV - np.logaddexp.reduce(z_RV, axis=1, keepdims=True)
    p_RV = np.exp(log_p_RV)
    onehot_RV = np.zeros_like(p_RV)
    onehot_RV[rows_R, target_R] = 1
    others_RV = z_RV.copy()
    others_RV[rows_R, target_R] = -np.inf
    margin_R = z_RV[rows_R, target_R] - others_RV.max(axis=1)
    return {
        "nll": -log_p_RV[rows_R, target_R],
        "hits": (margin_R > 0).astype(float),
        "p_target": p_RV[rows_R, target_R],
        "p_max": p_RV.max(axis=1),
        "entropy": -(p_RV * log_p_RV).sum(axis=1),
        "el2n": np.linalg.norm(p_RV - onehot_RV, axis=1),
        "margin": margin_R,
    }


def fused(logits_RV: np.ndarray, target_R: np.ndarray) -> dict[str, np.ndarray]:
    values_SR = statistics(torch.from_numpy(logits_RV), torch.from_numpy(target_R))
    return dict(zip(STATISTICS, values_SR.numpy(), strict=True))


def check(logits_RV: np.ndarray, target_R: np.ndarray) -> None:
    expected = plainly(logits_RV, target_R)
    for name, value_R in fused(logits_RV, target_R).items():
        np.testing.assert_allclose(value_R, expected[name], rtol=2e-5, atol=2e-6, err_msg=name)


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 8),
    vocabulary=st.integers(2, 60),
    scale=st.sampled_from([0.0, 0.01, 1.0, 10.0, 80.0]),
)
def test_fused_statistics_equal_the_plain_formulas(seed: int, rows: int, vocabulary: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    logits_RV = (rng.standard_normal((rows, vocabulary)) * scale).astype(np.float32)
    check(logits_RV, rng.integers(0, vocabulary, rows))


@given(
    z=st.lists(st.integers(-3, 3), min_size=2, max_size=6),
    offset=st.sampled_from([-1e4, 0.0, 1e4]),
    data=st.data(),
)
def test_ties_and_large_offsets_change_nothing(z: list[int], offset: float, data: st.DataObject) -> None:
    target = data.draw(st.integers(0, len(z) - 1))
    check(np.array([z], dtype=np.float32) + np.float32(offset), np.array([target]))


def test_a_tie_for_the_first_place_is_no_hit():
    values = fused(np.array([[1.0, 1.0, 0.0], [1.0, 0.5, 0.0]], dtype=np.float32), np.array([0, 0]))
    assert values["hits"].tolist() == [0, 1]
    assert values["margin"].tolist() == [0.0, 0.5]


def test_a_nearly_certain_target_keeps_its_digits():
    """1 − p is e^-30 here: a softmax in float32 would say exactly 0."""
    logits_RV = np.array([[30.0, 0.0, -np.log(2)]], dtype=np.float32)
    right, wrong = fused(logits_RV, np.array([0])), fused(logits_RV, np.array([1]))
    np.testing.assert_allclose(right["nll"], 1.5 * np.exp(-30.0), rtol=1e-5)
    np.testing.assert_allclose(right["el2n"], np.exp(-30.0) * np.sqrt(1.5**2 + 1 + 0.25), rtol=1e-5)
    np.testing.assert_allclose(right["entropy"], np.exp(-30.0) * (1.5 * 30 + 1.5 + 0.5 * np.log(2)), rtol=1e-5)
    np.testing.assert_allclose(wrong["nll"], 30.0, rtol=1e-6)
    np.testing.assert_allclose(wrong["p_target"], np.exp(-30.0), rtol=1e-5)


def test_the_logits_are_left_as_they_were():
    logits_RV = torch.randn(3, 5)
    before = logits_RV.clone()
    statistics(logits_RV, torch.tensor([0, 1, 2]))
    assert torch.equal(logits_RV, before)


def test_a_logit_that_is_not_a_number_shows_in_the_loss():
    for place in range(3):
        logits_RV = np.zeros((1, 3), dtype=np.float32)
        logits_RV[0, place] = np.nan
        assert np.isnan(fused(logits_RV, np.array([1]))["nll"]).all()


def test_a_token_that_a_head_rules_out_is_as_if_it_were_not_there():
    logits_RV = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    target_R = np.array([0, 1, 2, 3])
    ruled_out_RV = logits_RV.copy()
    ruled_out_RV[:, 5] = -np.inf
    without = fused(logits_RV[:, :5], target_R)
    for name, value_R in fused(ruled_out_RV, target_R).items():
        np.testing.assert_allclose(value_R, without[name], rtol=1e-6, err_msg=name)


@given(
    seed=st.integers(0, 2**32 - 1),
    vocabulary=st.integers(2, 40),
    columns=st.integers(1, 12),
    scale=st.sampled_from([0.01, 1.0, 30.0]),
)
def test_chunks_of_the_vocabulary_give_what_all_of_it_gives(
    seed: int, vocabulary: int, columns: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    logits_RV = (rng.standard_normal((5, vocabulary)) * scale).astype(np.float32)
    target_R = torch.from_numpy(rng.integers(0, vocabulary, 5))
    running_4R = nothing(target_R)
    target_logit_R = running_4R[0]
    for start in range(0, vocabulary, columns):
        chunk_Rv = torch.from_numpy(logits_RV[:, start : start + columns].copy())
        target_logit_R = take_out(chunk_Rv, target_R - start, target_logit_R)
        running_4R = update(running_4R, chunk_Rv)
    expected = plainly(logits_RV, target_R.numpy())
    for name, value_R in zip(STATISTICS, concluded(running_4R, target_logit_R).numpy(), strict=True):
        np.testing.assert_allclose(value_R, expected[name], rtol=2e-5, atol=2e-6, err_msg=name)


def test_the_compiled_pass_is_the_eager_one() -> None:
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("no C++ compiler here")
    driver = Path(__file__).with_name("compiled_driver.py")
    told = subprocess.run([sys.executable, driver], capture_output=True, text=True, check=True).stdout
    assert all(difference is not None and difference <= 1e-5 for difference in json.loads(told)), told
