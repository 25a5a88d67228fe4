"""Rows of a pool made ready to be encoded, batch after batch: rendered as segments, or token ids as they were given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
import pyarrow.compute as pc

from s2l.data.encode import Given
from s2l.data.templates import RowError, Segment, render
from s2l.errors import DataError, shown
from s2l.types import Example, Pool

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BATCH_ROWS = 2_000
BATCH_BYTES = 8 * 2**20
IGNORED = -100

Row = TypeVar("Row")


@dataclass(frozen=True)
class Batch(Generic[Row]):
    """Some rows on end, ready by id, and by id why others cannot be. size: with those the reader had excluded."""

    size: int
    rows: dict[bytes, Row]
    refused: dict[bytes, str]


def batches(pool: Pool, prepare: Callable[[Example], Row]) -> Iterator[Batch[Row]]:
    """The rows of the pool in their order. A RowError refuses the row; a DataError goes on, with the row's place."""
    bytes_until_N = np.cumsum(pc.binary_length(pool.contents).to_numpy())
    start = 0
    while start < len(pool):
        bytes_before = bytes_until_N[start - 1] if start else 0
        full = int(np.searchsorted(bytes_until_N, bytes_before + BATCH_BYTES)) + 1
        stop = min(full, start + BATCH_ROWS, len(pool))
        yield _batch(pool, start, stop, prepare)
        start = stop


def rendered(example: Example, template: str, tokenizer: PreTrainedTokenizerFast | None) -> list[Segment]:
    """The row as text; RowError also where it is none that UTF-8 can write."""
    segments = render(example, template, tokenizer)
    check_unicode(*[segment.text for segment in segments])
    return segments


def check_unicode(*texts: str) -> None:
    """RowError where UTF-8 cannot write the texts."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        raise RowError("text is not valid Unicode (lone surrogate)") from None


def given(example: Example, vocabulary: int) -> Given:
    """The row's own token ids and which of them count; DataError for an id outside the vocabulary."""
    input_ids, labels = example.input_ids or (), example.labels or example.input_ids or ()
    stranger = next((id_ for id_ in input_ids if not 0 <= id_ < vocabulary), None)
    if stranger is not None:
        raise DataError(
            f"token id {shown(stranger)} is not one of the tokenizer's {vocabulary}; "
            "name the tokenizer that made the rows: --tokenizer NAME"
        )
    if len(labels) != len(input_ids) or any(b not in (IGNORED, a) for a, b in zip(input_ids, labels, strict=True)):
        raise RowError("labels are not the input ids or -100")
    counted = np.array(labels, dtype=np.int64) != IGNORED
    if not counted[1:].any():
        raise RowError("nothing marked to train on")
    return np.array(input_ids, dtype=np.int32), counted


def _batch(pool: Pool, start: int, stop: int, prepare: Callable[[Example], Row]) -> Batch[Row]:
    ready: dict[bytes, Row] = {}
    refused: dict[bytes, str] = {}
    contents = pool.contents.slice(start, stop - start).to_pylist()
    for row, (id_, content) in enumerate(zip(pool.rows.ids[start:stop].tolist(), contents, strict=True), start):
        if id_ in pool.rows.excluded:
            continue
        try:
            ready[id_] = prepare(Example.from_content(content))
        except RowError as error:
            refused[id_] = str(error)
        except DataError as error:
            raise DataError(f"{pool.rows.place(row)}: {error}") from None
    return Batch(stop - start, ready, refused)
