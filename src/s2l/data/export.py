"""Selection → files: the subset, the verdict on every row, the dataset card, and what training frameworks need."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int, Shaped

from s2l.config import PoolSettings
from s2l.data.card import Origin, card
from s2l.data.formats import recognise
from s2l.data.handover import TrainingRows, write_handover
from s2l.data.hub import load_source_dataset
from s2l.data.pool import layout_of
from s2l.data.subset import Subset, write_subset
from s2l.progress import SILENT, Progress
from s2l.types import Recorded, Rows, Selection

if TYPE_CHECKING:
    import datasets

SELECTION = "selection.parquet"
CARD = "README.md"


def export(
    settings: PoolSettings,
    container: str,
    rows: Rows,
    selection: Selection,
    recorded: Recorded,
    origin: Origin,
    max_length: int,
    folder: Path,
    dataset: datasets.Dataset | None = None,
    progress: Progress = SILENT,
) -> Subset:
    """Write all files of one selection into `folder`, which is there and empty; it is not finished until this returns.

    container: `Pool.container`. dataset: the pool itself where it lives in memory. max_length: tokens a row may have.
    Raises DataError where the pool's files no longer hold the rows that were read.
    """
    if container in ("dataset", "hub"):
        dataset = load_source_dataset(settings)
    layout = layout_of(settings)[0] if dataset is None else recognise(dataset.column_names, settings)
    subset = write_subset(rows, selection.kept_N, folder, dataset, progress)
    write_selection(rows, selection, recorded, folder / SELECTION)
    parts = layout.present(subset.columns)
    starts = write_handover(TrainingRows.of(subset, layout.format, parts, max_length), folder)
    text = card(origin, rows, selection, recorded, subset, starts)
    (folder / CARD).write_text(text, encoding="utf-8")
    return subset


def write_selection(rows: Rows, selection: Selection, recorded: Recorded, path: Path) -> None:
    """Write the verdict on every row of the pool, in file order, as Parquet.

    tokens, response_tokens: of the proxy's tokenizer after truncation. They, cluster, score and distance are null
    where there is none.
    """
    assert np.array_equal(rows.ids, selection.ids), "rows and selection are of two pools"
    place_N, scorable_N = rows.stand_in(recorded.trajectories.ids)
    columns = {
        "id": pa.array(rows.ids).cast(pa.string()),
        "file": _words(rows.file_N, rows.files),
        "line": pa.array(rows.line_N, pa.int64()),
        "source": _words(rows.source_N, rows.sources),
        "kept": pa.array(selection.kept_N),
        "reason": _words(selection.reason_N, selection.reasons),
        "cluster": pa.array(selection.cluster_N, pa.int32(), mask=selection.cluster_N < 0),
        "score": pa.array(selection.score_N, pa.float64(), mask=np.isnan(selection.score_N)),
        "distance": pa.array(selection.distance_N, pa.float64(), mask=np.isnan(selection.distance_N)),
        "tokens": _counts(recorded.lengths_N, place_N, scorable_N),
        "response_tokens": _counts(recorded.trajectories.tokens_N, place_N, scorable_N),
        "occurrence": pa.array(rows.occurrence_N, pa.int32()),
        "trained_on": pa.array(rows.trained_on_N),
    }
    pq.write_table(pa.table(columns), path, compression="zstd")


def _counts(
    count_M: Int[np.ndarray, " M"], place_N: Int[np.ndarray, " N"], scorable_N: Shaped[np.ndarray, " N"]
) -> pa.Array:
    return pa.array(count_M[place_N], pa.int32(), mask=~scorable_N)


def _words(code_N: Int[np.ndarray, " N"], words: tuple[str, ...]) -> pa.Array:
    """Words by their codes; what no UTF-8 can hold (a lone surrogate) is escaped."""
    written = [word.encode("utf-8", "backslashreplace").decode() for word in words]
    return pa.DictionaryArray.from_arrays(pa.array(code_N, pa.int32()), pa.array(written, pa.string()))
