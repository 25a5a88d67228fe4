"""A sample holds whole rows, the same ones in any order of the pool."""

from pathlib import Path

import numpy as np

from s2l.config import PoolSettings
from s2l.data.pool import read_pool
from s2l.forecast.sample import drawn, sampled, usable_rows
from toy_models import toy_tokens
from toy_runs import REPEAT, toy_rows, write_jsonl


def test_a_sample_holds_rows_that_can_be_used_with_their_content(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "pool.jsonl", toy_rows())
    pool = read_pool(PoolSettings(paths=(str(path),), repeats="drop"))
    sample = sampled(pool, 20, seed=0)
    assert len(sample) == len(sample.contents) == 20
    at = {id_: row for row, id_ in enumerate(pool.rows.ids.tolist())}
    for row, id_ in enumerate(sample.rows.ids.tolist()):
        assert sample.example(row) == pool.example(at[id_])
        assert sample.rows.line_N[row] == pool.rows.line_N[at[id_]]
    assert REPEAT not in usable_rows(pool.rows)


def test_the_same_rows_are_drawn_in_any_order() -> None:
    ids = np.array([b"%024x" % i for i in range(100)])
    mixed = ids[np.random.default_rng(0).permutation(100)]
    assert set(ids[drawn(ids, 10, seed=1)]) == set(mixed[drawn(mixed, 10, seed=1)])
    assert set(ids[drawn(ids, 10, seed=1)]) != set(ids[drawn(ids, 10, seed=2)])


def test_no_more_rows_are_drawn_than_there_are() -> None:
    ids = np.array([b"%024x" % i for i in range(5)])
    assert drawn(ids, 10, seed=0).tolist() == [0, 1, 2, 3, 4]


def test_some_rows_of_the_tokens_are_those_rows() -> None:
    tokens = toy_tokens(rows=7)
    part = tokens.of(np.array([1, 4, 5]))
    assert part.ids.tolist() == tokens.ids[[1, 4, 5]].tolist()
    for row, there in enumerate((1, 4, 5)):
        ours, theirs = slice(*part.start_N[row : row + 2]), slice(*tokens.start_N[there : there + 2])
        assert np.array_equal(part.input_ids[ours], tokens.input_ids[theirs])
        assert np.array_equal(part.counted[ours], tokens.counted[theirs])
