"""Ids in bulk: ordered, found and checked by their first eight characters, the whole id only where those are alike."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int, Shaped, UInt64


def id_order(ids: Shaped[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """What `np.argsort(ids)` gives for unique ids, some ten times sooner."""
    heads_N = _heads(ids)
    order_N = np.argsort(heads_N)
    alike = _alike(heads_N[order_N])
    rows = order_N[alike]
    order_N[alike] = rows[np.argsort(ids[rows])]
    return order_N


def are_unique(ids: Shaped[np.ndarray, " N"]) -> bool:
    """Whether no id occurs twice."""
    heads_N = _heads(ids)
    order_N = np.argsort(heads_N)
    suspects = ids[order_N[_alike(heads_N[order_N])]]
    return len(np.unique(suspects)) == len(suspects)


def find_ids(
    wanted: Shaped[np.ndarray, " M"], ids: Shaped[np.ndarray, " N"]
) -> tuple[Int[np.ndarray, " M"], Bool[np.ndarray, " M"]]:
    """Where each wanted id stands in `ids` (ascending), and whether it does; its place means nothing if not."""
    if not len(ids):
        return np.zeros(len(wanted), dtype=np.int64), np.zeros(len(wanted), dtype=bool)
    heads_M, place_M = _heads(wanted), np.empty(len(wanted), dtype=np.int64)
    order_M = np.argsort(heads_M)
    place_M[order_M] = np.searchsorted(_heads(ids), heads_M[order_M])
    np.minimum(place_M, len(ids) - 1, out=place_M)
    found_M = ids[place_M] == wanted
    other = np.flatnonzero(~found_M)
    place_M[other] = np.minimum(np.searchsorted(ids, wanted[other]), len(ids) - 1)
    found_M[other] = ids[place_M[other]] == wanted[other]
    return place_M, found_M


def ids_of(column: pa.ChunkedArray, length: int) -> Shaped[np.ndarray, " N"]:
    """A column of strings, all of this length; raises ArrowInvalid where one is not."""
    parts = [chunk.cast(pa.string()).cast(pa.binary()).cast(pa.binary(length)) for chunk in column.chunks]
    buffers = [np.frombuffer(part.buffers()[1], f"S{length}", len(part), length * part.offset) for part in parts]
    return np.concatenate(buffers) if buffers else np.empty(0, f"S{length}")


def as_text(ids: Shaped[np.ndarray, " N"]) -> pa.Array:
    """The inverse of `ids_of`."""
    return pa.array(ids).cast(pa.string())


def _heads(ids: Shaped[np.ndarray, " N"]) -> UInt64[np.ndarray, " N"]:
    """The first eight characters as numbers of the same order."""
    return ids.astype("S8").view(">u8").astype(np.uint64)


def _alike(sorted_N: UInt64[np.ndarray, " N"]) -> Int[np.ndarray, " alike"]:
    """Places in ascending numbers that have an equal neighbour."""
    same = sorted_N[1:] == sorted_N[:-1]
    return np.flatnonzero(np.append(same, False) | np.append(False, same))
