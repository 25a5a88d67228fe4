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
from jaxtyping import Float, Int, Shaped

from s2l.errors import RunFolderError
from s2l.files import written_whole
from s2l.types import ID_LENGTH, STATISTICS, Checkpoint, Tokens, Trajectories

SHARD_ROWS = 16_384
CHECKPOINT_KEY = b"s2l.checkpoint_sha256"


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
    columns = {
        "id": pa.array(tokens.ids[rows]).cast(pa.string()),
        "tokens": pa.array(tokens.response_lengths[rows].astype(np.int32)),
        **{name: pa.array(sums_n) for name, sums_n in zip(STATISTICS, sums_Sn, strict=True)},
    }
    table = pa.table(columns).replace_schema_metadata({CHECKPOINT_KEY: item.checkpoint.sha256.encode()})
    with written_whole(item.path(folder)) as part:
        pq.write_table(table, part, compression="zstd", write_page_checksum=True)


def is_done(item: WorkItem, folder: Path, ids: Shaped[np.ndarray, " N"]) -> bool:
    """Whether the item's file is there, whole, for these very rows and made from this very checkpoint."""
    path = item.path(folder)
    if not path.is_file():
        return False
    table = _read(path)
    if table.schema.metadata.get(CHECKPOINT_KEY, b"").decode() != item.checkpoint.sha256:
        raise RunFolderError(f"{path}: recorded from another checkpoint; remove the file to record it again")
    if not np.array_equal(_ids(table), ids[item.rows.start : item.rows.stop]):
        raise RunFolderError(f"{path}: holds other rows than this pool; remove the file to record it again")
    return True


def load(folder: Path, steps: Sequence[int]) -> Trajectories:
    """All recorded sums of these checkpoints, rows in id order; a missing or damaged shard is a RunFolderError."""
    sums_STN: list[list[Float[np.ndarray, " N"]]] = []
    ids: Shaped[np.ndarray, " N"] | None = None
    lengths_N: Int[np.ndarray, " N"] = np.empty(0, dtype=np.int64)
    for step in steps:
        paths = sorted(step_folder(folder, step).glob("shard-*.parquet"))
        if not paths:
            raise RunFolderError(f"{step_folder(folder, step)}: no recorded losses; run the same command again")
        table = pa.concat_tables(_read(path) for path in paths)
        order = np.argsort(_ids(table), kind="stable")
        step_ids = _ids(table)[order]
        if ids is None:
            ids, lengths_N = step_ids, table["tokens"].to_numpy()[order].astype(np.int64)
        elif not np.array_equal(ids, step_ids):
            raise RunFolderError(f"{step_folder(folder, step)}: other rows than at step {steps[0]}; record it again")
        sums_STN.append([table[name].to_numpy()[order] for name in STATISTICS])
    assert ids is not None, "at least one checkpoint"
    sums = {name: np.stack([at_step[s] for at_step in sums_STN], axis=1) for s, name in enumerate(STATISTICS)}
    return Trajectories(ids=ids, steps=tuple(steps), tokens_N=lengths_N, sums=sums)


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(path, page_checksum_verification=True, memory_map=False)
    except (OSError, pa.ArrowInvalid):
        raise RunFolderError(f"{path}: damaged; remove the file and run the same command again") from None


def _ids(table: pa.Table) -> Shaped[np.ndarray, " n"]:
    fixed = table["id"].cast(pa.binary()).cast(pa.binary(ID_LENGTH)).combine_chunks()
    return np.frombuffer(fixed.buffers()[1], dtype=f"S{ID_LENGTH}")[fixed.offset : fixed.offset + len(fixed)]
