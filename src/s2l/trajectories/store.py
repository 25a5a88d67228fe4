"""Sums on disk: one Parquet file per checkpoint and shard of rows. Done if and only if the file is there and verifies.

`trajectories/step-00000120/shard-00003.parquet` holds id, tokens and one float32 column per statistic; rows that were
added to a run later have shards of their own, `added-001-shard-00000.parquet`, and move no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Shaped

from s2l.errors import RunFolderError
from s2l.files import written_whole
from s2l.ids import as_text, id_order, ids_of
from s2l.threads import on_all_cores
from s2l.trajectories.arrays import empty
from s2l.types import ID_LENGTH, STATISTICS, Checkpoint, LazySums, Tokens, Trajectories

SHARD_ROWS = 16_384
CHECKPOINT_KEY = b"s2l.checkpoint_sha256"
SCHEMA = pa.schema({"id": pa.string(), "tokens": pa.int32(), **dict.fromkeys(STATISTICS, pa.float32())})


@dataclass(frozen=True)
class WorkItem:
    """One checkpoint × one shard: rows `rows` of the Tokens, in id order. addition: `Rows.addition_N` of its rows."""

    checkpoint: Checkpoint
    shard: int
    rows: range
    addition: int = 0

    def __str__(self) -> str:
        return f"checkpoint {self.checkpoint.step}, shard {self.shard}"

    @property
    def group(self) -> str:
        """Items of one checkpoint follow one another cheaply: it is loaded once."""
        return self.checkpoint.sha256

    def path(self, folder: Path) -> Path:
        """Where the item's sums belong."""
        return step_folder(folder, self.checkpoint.step) / shard_name(self.shard, self.addition)


def shard_name(shard: int, addition: int = 0) -> str:
    """The file of a shard."""
    return (f"added-{addition:03d}-" if addition else "") + f"shard-{shard:05d}.parquet"


def step_folder(folder: Path, step: int) -> Path:
    """Where the sums of the checkpoint at `step` belong."""
    return folder / f"step-{step:08d}"


def work_items(n_rows: int, checkpoint: Checkpoint, addition: int = 0) -> list[WorkItem]:
    """The shards of one checkpoint and addition: fixed ranges of its rows in id order."""
    starts = range(0, n_rows, SHARD_ROWS)
    return [
        WorkItem(checkpoint, k, range(start, min(start + SHARD_ROWS, n_rows)), addition)
        for k, start in enumerate(starts)
    ]


def write_item(item: WorkItem, folder: Path, tokens: Tokens, sums_Sn: Float[np.ndarray, "S n"]) -> None:
    """Save the sums of one work item, whole or not at all."""
    rows = slice(item.rows.start, item.rows.stop)
    columns = [as_text(tokens.ids[rows]), tokens.response_lengths[rows].astype(np.int32), *sums_Sn]
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
    """The recorded sums of these checkpoints, rows in id order; a missing or damaged shard is a RunFolderError.

    A statistic is read, and its damage noticed, when it is first asked for; it takes 4 N T bytes, on disk beyond 1 GiB.
    A shard that is missing from every checkpoint does not show here: compare the ids with those that should be there.
    """
    shards = [
        [path for kind in ("shard", "added") for path in sorted(step_folder(folder, step).glob(f"{kind}-*.parquet"))]
        for step in steps
    ]
    for step, paths in zip(steps, shards, strict=True):
        if not paths:
            raise RunFolderError(f"{step_folder(folder, step)}: no recorded losses; run the same command again")
    parts = list(on_all_cores(partial(_read, columns=["id", "tokens"]), shards[0]))
    ids = np.concatenate([_ids(part) for part in parts])
    stops = np.cumsum([len(part) for part in parts]).tolist()
    rows = [slice(start, stop) for start, stop in zip([0, *stops], stops, strict=False)]
    for step, paths in zip(steps, shards, strict=True):
        same = on_all_cores(
            lambda at: np.array_equal(_ids(_read(at[0], ["id"])), ids[at[1]]), zip(paths, rows, strict=False)
        )
        if len(paths) != len(shards[0]) or not all(same):
            raise RunFolderError(
                f"{step_folder(folder, step)}: other rows than at step {steps[0]}: a shard is missing; "
                "run the same command again"
            )
    order = id_order(ids)
    place = np.argsort(order)
    places = rows if np.all(place[:-1] < place[1:]) else [place[part] for part in rows]
    tokens_N = np.concatenate([part["tokens"].to_numpy() for part in parts]).astype(np.int64)
    return Trajectories(
        ids=ids[order],
        steps=tuple(steps),
        tokens_N=tokens_N[order],
        sums=LazySums(partial(_sums, folder, list(zip(places, *shards, strict=True)), (len(ids), len(steps)))),
        folder=folder,
    )


def _sums(
    folder: Path, shards: Sequence[tuple[Any, ...]], shape: tuple[int, int], statistic: str
) -> Float[np.ndarray, "N T"]:
    """One statistic from (places of its rows, path at each checkpoint) of every shard."""
    sum_NT = empty(shape, np.float32, folder)

    def fill(shard: tuple[Any, ...]) -> None:
        rows, *paths = shard
        sum_NT[rows] = np.stack([_read(path, [statistic])[statistic].to_numpy() for path in paths], axis=1)
        assert np.isfinite(sum_NT[rows]).all(), statistic

    list(on_all_cores(fill, shards))
    return sum_NT


def _read(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The columns, all if not given."""
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True, memory_map=False)
        table = file.read(columns, use_threads=False)
        if not file.schema_arrow.equals(SCHEMA) or CHECKPOINT_KEY not in table.schema.metadata:
            raise ValueError("another schema")
        return table
    except Exception:  # Arrow has many ways to fail on a damaged file
        raise RunFolderError(f"{path}: damaged; remove the file and run the same command again") from None


def _ids(table: pa.Table) -> Shaped[np.ndarray, " n"]:
    return ids_of(table["id"], ID_LENGTH)
