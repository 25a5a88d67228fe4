"""What is kept beside each checkpoint that the trainer saves: from which weights, and what was seen of its epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from s2l.errors import RunFolderError
from s2l.files import written_whole
from s2l.types import STATISTICS

SAVED = "saved"
"""The folder, until the recording is finished."""
SHA256_KEY, TRAINED_KEY = b"s2l.weights_sha256", b"s2l.trained"


def path_of(run: Path, step: int, rank: int) -> Path:
    """Where a process keeps it."""
    return run / SAVED / f"step-{step:08d}-rank-{rank}.parquet"


def keep(
    path: Path, sha256: str, trained: Path, rows: Int[np.ndarray, " n"], sums_Sn: Float[np.ndarray, "S n"]
) -> None:
    """Save it. sha256: of the weights. trained: the folder that the trainer saves its checkpoints in."""
    metadata = {SHA256_KEY: sha256.encode(), TRAINED_KEY: str(trained.resolve()).encode("utf-8", "surrogateescape")}
    table = pa.table({"row": rows, **dict(zip(STATISTICS, sums_Sn, strict=True))}).replace_schema_metadata(metadata)
    with written_whole(path) as part:
        pq.write_table(table, part, compression="zstd", write_page_checksum=True)


def load(path: Path) -> tuple[str, Int[np.ndarray, " n"], Float[np.ndarray, "S n"]]:
    """The weights' sha256, and what was seen; RunFolderError where that is not there."""
    try:
        table = pq.read_table(path, memory_map=False, page_checksum_verification=True)
        sha256 = table.schema.metadata[SHA256_KEY].decode()
        return sha256, table["row"].to_numpy(), np.stack([table[name].to_numpy() for name in STATISTICS])
    except Exception:  # Arrow has many ways to fail on a damaged file
        raise RunFolderError(
            f"{path}: what was seen of this epoch is not there; go on from the end of an epoch, or train from the "
            "start with another out"
        ) from None


def drop_outdated(run: Path, rank: int, step: int) -> None:
    """Remove what this process keeps beside checkpoints that the trainer has dropped since; never of `step`."""
    for path in (run / SAVED).glob(f"step-*-rank-{rank}.parquet"):
        of = int(path.name.split("-")[1])
        trained = Path(pq.read_schema(path).metadata[TRAINED_KEY].decode("utf-8", "surrogateescape"))
        if of != step and trained.is_dir() and not (trained / f"checkpoint-{of}").is_dir():
            path.unlink()
