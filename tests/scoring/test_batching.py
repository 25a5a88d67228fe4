"""Rows → padded batches."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from s2l.scoring.batching import collate, group_by_length, tokens_at_once
from toy_models import toy_tokens


@given(lengths=st.lists(st.integers(1, 50), max_size=40), batch_tokens=st.integers(1, 300))
def test_every_row_is_in_one_batch_that_fits(lengths: list[int], batch_tokens: int) -> None:
    groups = list(group_by_length(lengths, batch_tokens))
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[i] for i in group) <= batch_tokens
    longest = [max(lengths[i] for i in group) for group in groups]
    assert longest == sorted(longest, reverse=True)


def test_a_batch_predicts_each_counted_token_from_the_one_before_it():
    tokens = toy_tokens()
    rows_B = np.array([7, 0, 12])
    batch = collate(tokens, rows_B)
    read_R = batch.input_ids_BL.flatten()[batch.position_R]
    spans = [slice(*tokens.start_N[row : row + 2]) for row in rows_B]
    counted = [np.flatnonzero(tokens.counted[span]) for span in spans]
    ids = [tokens.input_ids[span] for span in spans]
    assert batch.target_R.tolist() == [int(i) for row, at in zip(ids, counted, strict=True) for i in row[at]]
    assert read_R.tolist() == [int(i) for row, at in zip(ids, counted, strict=True) for i in row[at - 1]]
    assert batch.count_B.tolist() == [len(at) for at in counted] == tokens.response_lengths[rows_B].tolist()
    assert (batch.position_R // batch.input_ids_BL.shape[1]).tolist() == np.repeat(range(3), batch.count_B).tolist()


def test_the_logits_of_one_pass_stay_within_half_a_gibibyte_but_the_longest_row_fits():
    assert tokens_at_once(2048, 512, 4096) == 2048
    assert tokens_at_once(2**20, 512, 50_304) * 50_304 * 4 <= 2**29
    assert tokens_at_once(16, 512, 50_304) == 512


def test_rounded_lengths_add_padding_and_change_nothing_else():
    tokens = toy_tokens()
    rows_B = np.array([7, 0, 12])
    exact, rounded = (collate(tokens, rows_B, round_to) for round_to in (1, 8))
    length = exact.input_ids_BL.shape[1]
    assert rounded.input_ids_BL.shape[1] % 8 == 0 <= rounded.input_ids_BL.shape[1] - length < 8
    assert rounded.input_ids_BL[:, :length].equal(exact.input_ids_BL)
    assert not rounded.input_ids_BL[:, length:].any()
    assert rounded.target_R.equal(exact.target_R)
