"""Chunks of rows on all cores: results come in the order of the rows, whatever the number of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from s2l.threads import on_all_cores

Result = TypeVar("Result")

CHUNK = 8192
"""Rows whose features and scores stay in a core's cache, and whose squared distances fit an int64 sum."""
TASK = 16
"""Chunks that a thread takes at a time."""


def over_chunks(work: Callable[[slice], Result], n_rows: int, *, larger: int = 1) -> Iterator[Result]:
    """`work` on every chunk of the rows, its results in order; light work takes chunks so many times `larger`."""
    rows, at_once = CHUNK * larger, max(1, TASK // larger)
    chunks = [slice(start, min(start + rows, n_rows)) for start in range(0, n_rows, rows)]
    tasks = [chunks[start : start + at_once] for start in range(0, len(chunks), at_once)]
    if len(tasks) <= 1:
        yield from map(work, chunks)
        return
    for results in on_all_cores(lambda task: [work(chunk) for chunk in task], tasks):
        yield from results
