"""Sums on disk: one Parquet file per checkpoint and shard of rows. Done if and only if the file is there and verifies.

`trajectories/step-00000120/shard-00003.parquet` holds id, tokens and one float32 column per statistic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Shaped

from s2l.errors import RunFolderError
from s2l.files import written_whole
from s2l.types import ID_LENGTH, STATISTICS, Checkpoint, Tokens, Trajectories

SHARD_ROWS = 16_384
CHECKPOINT_KEY = b"s2l.checkpoint_sha256"
SCHEMA = pa.schema({"id": pa.string(), "tokens": pa.int32(), **dict.fromkeys(STATISTICS, pa.float32())})


@dataclass(frozen=True)
class WorkItem:
    """One checkpoint × one shard: rows `rows` of the Tokens, in id order."""

    checkpoint: Checkpoint
    shard: int
    rows: range

    def path(self, folder: Path) -> Path:
        """Where the item's sums belong."""
        return step_folder(folder, self.checkpoint.step) / f"shard-{self.shard:05d}.parquet"


def step_folder(folder: Path, step: int) -> Path:
    """Where the sums of the checkpoint at `step` belong."""
    return folder / f"step-{step:08d}"


def work_items(n_rows: int, checkpoint: Checkpoint) -> list[WorkItem]:
    """The shards of one checkpoint: fixed ranges of rows in id order."""
    starts = range(0, n_rows, SHARD_ROWS)
    return [WorkItem(checkpoint, k, range(start, min(start + SHARD_ROWS, n_rows))) for k, start in enumerate(starts)]


def write_item(item: WorkItem, folder: Path, tokens: Tokens, sums_Sn: Float[np.ndarray, "S n"]) -> None:
    """Save the sums of one work item, whole or not at all."""
    rows = slice(item.rows.start, item.rows.stop)
    columns = [tokens.ids[rows].astype(str), tokens.response_lengths[rows].astype(np.int32), *sums_Sn]
    metadata = {CHECKPOINT_KEY: item.checkpoint.sha256.encode()}
    table = pa.table([pa.array(column) for column in columns], SCHEMA.with_metadata(metadata))
    with written_whole(item.path(folder)) as part:
        pq.write_table(table, part, compression="zstd", write_page_checksum=True)


def is_done(item: WorkItem, folder: Path, ids: Shaped[np.ndarray, " N"]) -> bool:
    """Whether the item's file is there, whole, for these very rows and made from this very checkpoint."""
    path = item.path(folder)
    if not path.is_file():
        return False
    table = _read(path)
    if table.schema.metadata[CHECKPOINT_KEY] != item.checkpoint.sha256.encode():
        raise RunFolderError(f"{path}: recorded from another checkpoint; remove the file to record it again")
    if not np.array_equal(_ids(table), ids[item.rows.start : item.rows.stop]):
        raise RunFolderError(f"{path}: holds other rows than this pool; remove the file to record it again")
    return True


def load(folder: Path, steps: Sequence[int]) -> Trajectories:
    """All recorded sums of these checkpoints, rows in id order; a missing or damaged shard is a RunFolderError.

    A shard that is missing from every checkpoint does not show here: compare the ids with those that should be there.
    """
    tables: list[pa.Table] = []
    for step in steps:
        paths = sorted(step_folder(folder, step).glob("shard-*.parquet"))
        if not paths:
            raise RunFolderError(f"{step_folder(folder, step)}: no recorded losses; run the same command again")
        tables.append(pa.concat_tables(_read(path) for path in paths))
        if not tables[-1]["id"].equals(tables[0]["id"]):
            raise RunFolderError(
                f"{step_folder(folder, step)}: other rows than at step {steps[0]}: a shard is missing; "
                "run the same command again"
            )
    sums = {name: np.stack([table[name].to_numpy() for table in tables], axis=1) for name in STATISTICS}
    lengths_N = tables[0]["tokens"].to_numpy().astype(np.int64)
    return Trajectories(ids=_ids(tables[0]), steps=tuple(steps), tokens_N=lengths_N, sums=sums)


def _read(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path, page_checksum_verification=True, memory_map=False)
        if not table.schema.equals(SCHEMA) or CHECKPOINT_KEY not in table.schema.metadata:
            raise ValueError("another schema")
        return table
    except Exception:  # Arrow has many ways to fail on a damaged file
        raise RunFolderError(f"{path}: damaged; remove the file and run the same command again") from None


def _ids(table: pa.Table) -> Shaped[np.ndarray, " n"]:
    return np.array(table["id"].to_pylist(), dtype=f"S{ID_LENGTH}")
