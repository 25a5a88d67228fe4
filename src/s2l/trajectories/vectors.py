"""Vectors of rows on disk: what is recorded beside the sums, one Parquet file per checkpoint and shard, as these are.

`representations/embeddings-response/step-00000120/shard-00003.parquet` holds id and one list of float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Shaped

from s2l.errors import RunFolderError
from s2l.files import written_whole
from s2l.ids import as_text, ids_of
from s2l.trajectories.arrays import empty
from s2l.trajectories.store import CHECKPOINT_KEY, WorkItem
from s2l.types import ID_LENGTH


def write_item(
    item: WorkItem, folder: Path, ids: Shaped[np.ndarray, " N"], vectors_nD: Float[np.ndarray, "n D"]
) -> None:
    """Save the vectors of one work item, whole or not at all."""
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(vectors_nD.astype(np.float32).ravel()), vectors_nD.shape[1])
    named = {"id": as_text(ids[item.rows.start : item.rows.stop]), "vector": vectors}
    table = pa.table(named).replace_schema_metadata({CHECKPOINT_KEY: item.checkpoint.sha256.encode()})
    with written_whole(item.path(folder)) as part:
        pq.write_table(table, part, compression="zstd", write_page_checksum=True)


def is_done(item: WorkItem, folder: Path, ids: Shaped[np.ndarray, " N"]) -> bool:
    """Whether the item's file is there, whole, for these very rows and made from this very checkpoint."""
    if not item.path(folder).is_file():
        return False
    _read(item, folder, ids)
    return True


def load(items: Sequence[WorkItem], folder: Path, ids: Shaped[np.ndarray, " N"]) -> Float[np.ndarray, "N D"]:
    """The vectors of all rows, float32; 4 N D bytes, on disk beyond 1 GiB."""
    vectors_ND = None
    for item in items:
        vectors_nD = _read(item, folder, ids)
        if vectors_ND is None:
            vectors_ND = empty((len(ids), vectors_nD.shape[1]), np.float32, folder)
        vectors_ND[item.rows.start : item.rows.stop] = vectors_nD
    assert vectors_ND is not None, "a run has rows"
    return vectors_ND


def _read(item: WorkItem, folder: Path, ids: Shaped[np.ndarray, " N"]) -> Float[np.ndarray, "n D"]:
    path = item.path(folder)
    try:
        table = pq.read_table(path, page_checksum_verification=True, memory_map=False, use_threads=False)
        checkpoint = table.schema.metadata[CHECKPOINT_KEY]
        found = ids_of(table["id"], ID_LENGTH)
        vectors = table["vector"].combine_chunks()
        vectors_nD: Float[np.ndarray, "n D"] = vectors.flatten().to_numpy().reshape(len(table), vectors.type.list_size)
    except Exception:  # Arrow has many ways to fail on a damaged file
        raise RunFolderError(f"{path}: damaged; remove the file and run the same command again") from None
    if checkpoint != item.checkpoint.sha256.encode():
        raise RunFolderError(f"{path}: recorded from another checkpoint; remove the file to record it again")
    if not np.array_equal(found, ids[item.rows.start : item.rows.stop]):
        raise RunFolderError(f"{path}: holds other rows than this pool; remove the file to record it again")
    return vectors_nD
