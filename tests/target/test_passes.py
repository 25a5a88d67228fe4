"""How a global batch is shared over devices and passes, and how long a training is."""

import numpy as np
import pytest
from target_toys import asked

from s2l.errors import SettingsError
from s2l.forecast.flops import amount_of
from s2l.target.passes import IGNORED, as_dataset, passes_of, passes_per_step
from s2l.target.schedule import amount_seen, steps_for
from toy_models import toy_tokens

TOKENS = toy_tokens(40)
BATCHES = [np.arange(start, min(start + 12, 40)) for start in range(0, 40, 12)]


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize(("rows_at_once", "world"), [(4, 1), (5, 1), (2, 3), (1, 8), (12, 2)])
def test_every_row_is_in_one_pass_of_one_device(rows_at_once, world, packing) -> None:
    passes = passes_per_step(12, rows_at_once, world)
    shared = [passes_of(TOKENS, BATCHES, passes, rank, world, packing) for rank in range(world)]
    assert {len(mine) for mine in shared} == {passes * len(BATCHES)}
    for step, rows in enumerate(BATCHES):
        found = [row for mine in shared for part in mine[step * passes :][:passes] for row in part if row < len(TOKENS)]
        assert sorted(found) == rows.tolist()
    if not packing:
        assert max(len(part) for mine in shared for part in mine) <= rows_at_once


def test_a_pass_without_a_row_gets_one_that_counts_nothing() -> None:
    shared = passes_of(TOKENS, [np.array([3])], 1, 1, 2, packing=False)
    assert shared == [[len(TOKENS)]]
    assert set(as_dataset(TOKENS)[len(TOKENS)]["labels"]) == {IGNORED}


def test_the_dataset_holds_the_tokens_and_masks() -> None:
    dataset = as_dataset(TOKENS)
    for row in (0, 17, 39):
        span = slice(*TOKENS.start_N[row : row + 2])
        assert dataset[row]["input_ids"] == TOKENS.input_ids[span].tolist()
        assert [label != IGNORED for label in dataset[row]["labels"]] == TOKENS.counted[span].tolist()


def test_rows_of_like_length_go_together() -> None:
    (first, *_, last) = passes_of(TOKENS, [np.arange(40)], 10, 0, 1, packing=False)
    assert TOKENS.lengths[first].min() > TOKENS.lengths[last].max()
    packed = passes_of(TOKENS, [np.arange(40)], 4, 0, 1, packing=True)
    sums = [(TOKENS.lengths + TOKENS.response_lengths)[part].sum() for part in packed]
    assert max(sums) < 1.2 * min(sums)


@pytest.mark.parametrize(
    ("rows", "pool", "more", "steps"),
    [
        (1000, 9000, {}, 3 * 8),
        (1000, 9000, {"match": "steps"}, 3 * 71),
        (1000, None, {"match": "steps", "pool_rows": 9000}, 3 * 71),
        (1000, 5, {"match": "steps", "pool_rows": 9000}, 3 * 71),
        (100, 9000, {}, 3),
        (1000, 9000, {"epochs": 0.01}, 1),
    ],
)
def test_steps_are_those_of_the_epochs_asked_for_over_the_rows_or_over_the_pool(rows, pool, more, steps) -> None:
    settings = asked(**{"model": "x", "batch_size": None, "epochs": 3, **more})
    assert steps_for(rows, settings, pool) == steps


def test_steps_of_an_unknown_pool_are_asked_for() -> None:
    with pytest.raises(SettingsError, match="--pool-rows"):
        steps_for(10, asked(match="steps"), None)


def test_defaults_are_the_papers_and_those_of_a_model_from_scratch() -> None:
    paper, own = (asked(model=model, learning_rate=None, batch_size=None) for model in ("x", "builtin"))
    assert (paper.settled("learning_rate"), paper.settled("batch_size")) == (2e-5, 128)
    assert (own.settled("learning_rate"), own.settled("batch_size")) == (2e-3, 32)


def test_what_is_seen_is_summed_over_the_batches() -> None:
    twice = amount_seen(TOKENS, [*BATCHES, *BATCHES])
    assert twice == amount_of(TOKENS).times(2)
