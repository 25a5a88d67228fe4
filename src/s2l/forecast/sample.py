"""A keyed sample of a pool and of its tokens: the same rows whatever their order, lengths as in the whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
from jaxtyping import Int, Shaped

from s2l.selection.keyed import keys
from s2l.types import Pool, Rows


def sampled(pool: Pool, most: int, seed: int) -> Pool:
    """The rows of the pool that reading did not exclude, at most so many of them, in file order."""
    usable = usable_rows(pool.rows)
    rows = usable[drawn(pool.rows.ids[usable], most, seed)]
    return replace(pool, rows=rows_at(pool.rows, rows), contents=pool.contents.take(pa.array(rows)))


def usable_rows(rows: Rows) -> Int[np.ndarray, " usable"]:
    """Where the rows stand that reading did not exclude."""
    return np.flatnonzero(~rows.excluded_N)


def drawn(ids: Shaped[np.ndarray, " N"], most: int, seed: int) -> Int[np.ndarray, " n"]:
    """Places of at most so many ids, drawn by their keys, ascending."""
    if len(ids) <= most:
        return np.arange(len(ids))
    return np.sort(np.argsort(keys(seed, "forecast", ids), kind="stable")[:most])


def rows_at(rows: Rows, at: Int[np.ndarray, " n"]) -> Rows:
    """These rows alone; none of them is excluded."""
    columns = {
        name: getattr(rows, name)[at] for name in ("ids", "occurrence_N", "source_N", "file_N", "row_N", "line_N")
    }
    return replace(rows, **columns, excluded={})
