"""What a subset says of every row of the pool, as its folder keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Int

from s2l.data.export import SELECTION
from s2l.errors import RunFolderError
from s2l.files import read_record
from s2l.ids import ids_of
from s2l.run_folder import MANIFEST
from s2l.types import ID_LENGTH, Rows


@dataclass(frozen=True)
class Verdicts:
    """What a subset says of every row of the pool, in file order, as in `types.Selection`. manifest: the subset's."""

    name: str
    manifest: Mapping[str, Any]
    kept_P: Bool[np.ndarray, " P"]
    cluster_P: Int[np.ndarray, " P"]
    score_P: Float[np.ndarray, " P"]
    distance_P: Float[np.ndarray, " P"]
    reason_P: Int[np.ndarray, " P"]
    reasons: tuple[str, ...]

    @property
    def clusters(self) -> int:
        """How many it was drawn from; 0 where there were none."""
        return int(self.cluster_P.max(initial=-1)) + 1

    def reason(self, row: int) -> str:
        """Why the row is in or out."""
        return self.reasons[int(self.reason_P[row])]


def read_verdicts(path: Path, rows: Rows) -> Verdicts:
    """Of the subset in a folder; RunFolderError where it is damaged, or of other rows than these."""
    manifest = read_record(path / MANIFEST)
    try:
        table = pq.read_table(path / SELECTION, memory_map=False).unify_dictionaries()
        reasons = table["reason"].combine_chunks()
        if not np.array_equal(ids_of(table["id"], ID_LENGTH), rows.ids):
            raise ValueError("other rows")
        return Verdicts(
            name=str(manifest["name"]),
            manifest=manifest,
            kept_P=table["kept"].to_numpy(),
            cluster_P=table["cluster"].fill_null(-1).to_numpy().astype(np.int64),
            score_P=table["score"].fill_null(np.nan).to_numpy(),
            distance_P=table["distance"].fill_null(np.nan).to_numpy(),
            reason_P=reasons.indices.to_numpy().astype(np.int64),
            reasons=tuple(reasons.dictionary.to_pylist()),
        )
    except Exception:  # Arrow has many ways to fail on a damaged file
        raise RunFolderError(f"{path}: damaged, or of another pool; remove it to draw it again") from None
