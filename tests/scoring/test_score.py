"""Losses of rows against the model's own loss, one row at a time."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from s2l.errors import NumericsError
from s2l.scoring.batching import Batch, collate, group_by_length
from s2l.scoring.forward import choose_path, response_logits, response_statistics
from s2l.scoring.score import Scorer, in_turn, per_row, score
from s2l.types import STATISTICS
from toy_models import ARCHITECTURES, WINDOW, loss_of_one_row, toy_model, toy_tokens

CPU = torch.device("cpu")
TOKENS = toy_tokens()
ALL = np.arange(len(TOKENS))
WHOLE = {"gemma2-soft-capped", "granite-scaled"}


def scorer(batch_tokens: int = 256, precision: str = "float32") -> Scorer:
    return Scorer(batch_tokens, CPU, precision)


def losses(model: PreTrainedModel, rows: np.ndarray = ALL, how: Scorer | None = None) -> np.ndarray:
    nll_n = score(model, TOKENS, rows, how or scorer())[STATISTICS.index("nll")]
    return nll_n / TOKENS.response_lengths[rows]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> tuple[str, PreTrainedModel, np.ndarray]:
    model = toy_model(request.param)
    return request.param, model, np.array([loss_of_one_row(model, TOKENS, row) for row in ALL])


@pytest.mark.parametrize("batch_tokens", [1, 60, 100, 257, 10**6])
def test_row_losses_equal_the_models_own_one_row_at_a_time(architecture, batch_tokens: int) -> None:
    _, model, expected = architecture
    np.testing.assert_allclose(losses(model, how=scorer(batch_tokens)), expected, atol=1e-5, rtol=0)


@settings(max_examples=10, deadline=None)
@given(rows=st.lists(st.sampled_from(ALL.tolist()), min_size=1, max_size=9), batch_tokens=st.integers(1, 500))
def test_neighbours_do_not_matter(architecture, rows: list[int], batch_tokens: int) -> None:
    _, model, expected = architecture
    np.testing.assert_allclose(losses(model, np.array(rows), scorer(batch_tokens)), expected[rows], atol=1e-5, rtol=0)


def test_the_trunk_is_enough_unless_the_head_scales_or_caps_its_logits(architecture) -> None:
    name, model, _ = architecture
    assert choose_path(model, collate(TOKENS, ALL[:3])) == ("whole" if name in WHOLE else "trunk")


def test_both_paths_give_the_same_logits_where_the_trunk_is_enough(architecture) -> None:
    name, model, _ = architecture
    batch = collate(TOKENS, ALL[:5])
    with torch.no_grad():
        trunk, whole = (next(response_logits(model, batch, path))[0] for path in ("trunk", "whole"))
    assert torch.allclose(trunk, whole, atol=1e-5) == (name not in WHOLE)


def test_choosing_leaves_the_model_as_it_was() -> None:
    model = toy_model("gpt2").train()
    before = torch.get_rng_state()
    choose_path(model, collate(TOKENS, ALL[:3]))
    assert model.training
    assert not model.get_output_embeddings()._forward_hooks
    assert torch.equal(torch.get_rng_state(), before)


def test_logits_in_chunks_are_the_same_logits() -> None:
    model, batch = toy_model(), collate(TOKENS, ALL[:4])
    with torch.no_grad():
        at_once, target_R = next(response_logits(model, batch, "trunk"))
        pieces = list(response_logits(model, batch, "trunk", chunk=7))
    assert torch.allclose(torch.cat([logits for logits, _ in pieces]), at_once, atol=1e-6)
    assert torch.cat([target for _, target in pieces]).equal(target_R)


def test_the_number_of_workers_changes_no_bit(architecture) -> None:
    _, model, _ = architecture
    alone, together = (score(model, TOKENS, ALL, Scorer(64, CPU, "float32", workers)) for workers in (1, 3))
    assert np.array_equal(alone, together)


def test_bfloat16_scoring_is_close_to_float32() -> None:
    model = toy_model()
    exact, rough = losses(model), losses(model, how=scorer(precision="bfloat16"))
    np.testing.assert_allclose(rough, exact, rtol=0.02)
    assert not np.array_equal(rough, exact)


def test_dropout_is_off_and_nothing_is_drawn() -> None:
    model = toy_model("gpt2").train()
    before = torch.get_rng_state()
    assert np.array_equal(losses(model), losses(model))
    assert torch.equal(torch.get_rng_state(), before)


def test_sums_are_of_every_statistic_and_advance_counts_each_token_once() -> None:
    told: list[int] = []
    sums_Sn = score(toy_model(), TOKENS, ALL, scorer(), told.append)
    assert sums_Sn.shape == (len(STATISTICS), len(TOKENS))
    assert sum(told) == TOKENS.start_N[-1]
    hits_n = sums_Sn[STATISTICS.index("hits")]
    assert np.array_equal(hits_n, hits_n.round())
    assert (hits_n <= TOKENS.response_lengths).all()


def test_a_loss_that_is_not_finite_names_its_row_and_stops() -> None:
    model = toy_model()
    rare = int(TOKENS.input_ids[TOKENS.start_N[5]])
    with torch.no_grad():
        model.get_input_embeddings().weight[rare] = float("nan")
    with pytest.raises(NumericsError) as error:
        score(model, TOKENS, ALL, scorer(WINDOW), place=lambda row: f"pool.jsonl:{row + 1}")
    where, _, rest = str(error.value).partition(": ")
    row = int(where.removeprefix("pool.jsonl:")) - 1
    assert rare in TOKENS.input_ids[TOKENS.start_N[row] : TOKENS.start_N[row + 1]]
    assert "nothing was imputed" in rest
    with pytest.raises(NumericsError, match=TOKENS.ids[5].decode()):
        score(model, TOKENS, np.array([5]), scorer())


def test_batches_in_turn_are_read_ahead_and_come_out_in_order() -> None:
    model, read, done = toy_model(), [], []
    groups = list(group_by_length(TOKENS.lengths, 100))

    def batches() -> Iterator[Batch]:
        for number, rows in enumerate(groups):
            read.append(number)
            yield collate(TOKENS, rows)

    @torch.inference_mode()
    def values_of(batch: Batch) -> torch.Tensor:
        return response_statistics(model, batch, "trunk")

    for number, sums_SB in enumerate(in_turn(batches(), values_of, CPU)):
        assert len(read) == min(number + 2, len(groups))
        batch = collate(TOKENS, groups[number])
        assert np.array_equal(sums_SB, per_row(values_of(batch), batch.count_B))
        done.append(number)
    assert len(done) == len(groups)
