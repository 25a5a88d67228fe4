"""Who a row is: the hash of its canonical content, and of an occurrence number where content repeats exactly."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from jaxtyping import Int, Shaped

from s2l.types import ID_LENGTH

ID_BYTES = ID_LENGTH // 2


def content_id(content: bytes) -> bytes:
    """24 hex digits of blake2b over a row's canonical content."""
    return blake2b(content, digest_size=ID_BYTES).hexdigest().encode()


def repeat_id(first: bytes, occurrence: int) -> bytes:
    """The id of the `occurrence`-th exact repeat (1, 2, …) of the row with id `first`."""
    return blake2b(first, digest_size=ID_BYTES, salt=occurrence.to_bytes(8, "little")).hexdigest().encode()


def number_repeats(
    content_ids: Shaped[np.ndarray, " N"],
) -> tuple[Shaped[np.ndarray, " N"], Int[np.ndarray, " N"], Int[np.ndarray, " N"]]:
    """Unique ids in file order, each row's occurrence number, and the row that its content occurs in first."""
    order = np.argsort(content_ids, kind="stable")
    ordered = content_ids[order]
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    group_start = np.flatnonzero(is_first)[np.cumsum(is_first) - 1]
    occurrence_N = np.empty(len(order), dtype=np.int64)
    occurrence_N[order] = np.arange(len(order)) - group_start
    first_N = np.empty(len(order), dtype=np.int64)
    first_N[order] = order[group_start]
    ids = content_ids.copy()
    for row in np.flatnonzero(occurrence_N):
        ids[row] = repeat_id(bytes(content_ids[row]), int(occurrence_N[row]))
    return ids, occurrence_N, first_N
