"""Rows on disk: who they are, where they stand, why some are excluded, and how long they are. No text of theirs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int

from s2l.errors import RunFolderError, without_quotes
from s2l.files import written_whole
from s2l.ids import as_text, id_order, ids_of
from s2l.types import ID_LENGTH, Rows, Tokens

NAMES_KEY = b"s2l.names"
SCHEMA = pa.schema(
    {
        "id": pa.string(),
        **dict.fromkeys(("occurrence", "source", "file", "row", "line"), pa.int64()),
        "excluded": pa.string(),
        "tokens": pa.int32(),
    }
)


def save_rows(rows: Rows, tokens: Tokens, path: Path, *, quoting: bool = True) -> None:
    """Write every row of the pool; `tokens` tells its length in proxy tokens, null where it was excluded.

    quoting: whether the reasons of exclusion may quote the rows.
    """
    place_N, scorable_N = rows.stand_in(tokens.ids)
    reasons = {**rows.excluded, **tokens.excluded}
    if not quoting:
        reasons = {id_: without_quotes(reason) for id_, reason in reasons.items()}
    added = {"added": rows.added} if rows.added else {}
    names = json.dumps({"sources": rows.sources, "files": rows.files, **added}).encode()
    table = pa.table(
        {
            "id": as_text(rows.ids),
            "occurrence": rows.occurrence_N,
            "source": rows.source_N,
            "file": rows.file_N,
            "row": rows.row_N,
            "line": rows.line_N,
            "excluded": pa.array([reasons.get(id_) for id_ in rows.ids.tolist()], pa.string()),
            "tokens": pa.array(tokens.lengths[place_N], pa.int32(), mask=~scorable_N),
        },
        SCHEMA.with_metadata({NAMES_KEY: names}),
    )
    with written_whole(path) as part:
        pq.write_table(table, part, compression="zstd", write_page_checksum=True)


def load_rows(path: Path) -> tuple[Rows, Int[np.ndarray, " scorable"]]:
    """The rows, and the proxy tokens of those that can be chosen, in id order; RunFolderError where it is damaged."""
    try:
        table = pq.read_table(path, page_checksum_verification=True, memory_map=False)
        if not table.schema.equals(SCHEMA):
            raise ValueError("another schema")
        names = json.loads(table.schema.metadata[NAMES_KEY])
        sources, files, added = (tuple(names.get(name, ())) for name in ("sources", "files", "added"))
        ids = ids_of(table["id"], ID_LENGTH)
    except Exception:  # Arrow has many ways to fail on a damaged file
        raise RunFolderError(f"{path}: damaged; remove it and run the same command again") from None
    out = np.flatnonzero(table["excluded"].is_valid().to_numpy())
    excluded = dict(zip(ids[out].tolist(), table["excluded"].take(out).to_pylist(), strict=True))
    lengths = table["tokens"].drop_null().to_numpy().astype(np.int64)
    scorable_ids = ids[table["tokens"].is_valid().to_numpy()]
    rows = Rows(
        ids=ids,
        occurrence_N=table["occurrence"].to_numpy(),
        source_N=table["source"].to_numpy(),
        sources=sources,
        file_N=table["file"].to_numpy(),
        files=files,
        row_N=table["row"].to_numpy(),
        line_N=table["line"].to_numpy(),
        excluded=excluded,
        added=added,
    )
    return rows, lengths[id_order(scorable_ids)]


def place_of(path: Path, row: int) -> str:
    """`file:line` of row `row` of the pool's tokens: of the rows in `path` that can be chosen, in id order."""
    rows, _ = load_rows(path)
    scorable_ids = sorted(id_ for id_ in rows.ids.tolist() if id_ not in rows.excluded)
    return rows.place(int(np.flatnonzero(rows.ids == scorable_ids[row])[0]))
