"""The chosen rows in the pool's own container, columns and order; rows of text files byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Int

from s2l.data.containers import CODECS, Container, container_of, iter_batches, iter_records, one_line_errors, open_bytes
from s2l.data.record import Record
from s2l.data.url import name_of
from s2l.errors import DataError, printable
from s2l.progress import SILENT, Advance, Progress
from s2l.types import Rows

if TYPE_CHECKING:
    import datasets

SAVED_DATASET = "dataset"
RESERVED = frozenset({"selection.parquet", "manifest.json"})
ROW_GROUP = 1 << 16


@dataclass(frozen=True)
class Subset:
    """What was written.

    files: name in the folder → its container, in the pool's order; None: the folder of a saved dataset.
    columns: all that its rows have. first: its first row.
    """

    files: dict[str, Container | None]
    columns: tuple[str, ...]
    first: dict[str, Any]


def write_subset(
    rows: Rows,
    kept_N: Bool[np.ndarray, " N"],
    folder: Path,
    dataset: datasets.Dataset | None = None,
    progress: Progress = SILENT,
) -> Subset:
    """Write the kept rows into `folder`, each file under its own name; a file with no kept row is left out.

    dataset: what the rows were read from, where that is no file. A name that is taken gets a number in front.
    Raises DataError where a file no longer holds the rows that were read from it.
    """
    with progress.stage("export", int(kept_N.sum()), "rows") as advance:
        if dataset is not None:
            return _save_dataset(dataset, rows.row_N[kept_N], folder, advance)
        files: dict[str, Container | None] = {}
        columns: dict[str, None] = {}
        first: dict[str, Any] = {}
        for number, path in enumerate(rows.files):
            wanted = np.sort(rows.row_N[kept_N & (rows.file_N == number)])
            if len(wanted):
                container = container_of(path)
                name = _free_name(name_of(path), files)
                write = _write_batches if container.kind in ("parquet", "arrow") else _write_records
                files[name] = container
                first_here = write(path, container, wanted, folder / name, columns, advance)
                first = first or first_here
        return Subset(files, tuple(columns), first)


def _free_name(name: str, taken: dict[str, Container | None]) -> str:
    """`name`, or the first of 2-name, 3-name, … that no file has, not even in other case."""
    lower = RESERVED | {other.lower() for other in taken}
    candidates = (f"{number}-{name}" if number > 1 else name for number in range(1, len(taken) + 3))
    return next(candidate for candidate in candidates if candidate.lower() not in lower)


def _write_records(
    path: str,
    container: Container,
    wanted: Int[np.ndarray, " kept"],
    target: Path,
    columns: dict[str, None],
    advance: Advance,
) -> dict[str, Any]:
    first: dict[str, Any] = {}
    before, between, after = (b"[\n", b",\n", b"\n]\n") if container.kind == "json" else (b"", b"\n", b"\n")
    with open_compressed(target, container.compression) as out:
        for count, record in enumerate(_wanted_records(path, container, wanted)):
            assert record.raw is not None and record.value is not None
            if count == 0:
                out.write(_csv_header(path, container) if container.kind == "csv" else before)
            out.write((between if count else b"") + record.raw)
            columns.update(dict.fromkeys(record.value))
            first = first or record.value
            advance(1)
        out.write(after)
    return first


def _wanted_records(path: str, container: Container, wanted: Int[np.ndarray, " kept"]) -> Iterator[Record]:
    left = wanted.tolist()[::-1]
    for record in iter_records(path, container):
        if record.row == left[-1]:
            if record.value is None:
                break
            yield record
            left.pop()
            if not left:
                return
    raise _changed(path)


def _csv_header(path: str, container: Container) -> bytes:
    """The lines above the first record, as they stand."""
    lines = next(iter_records(path, container)).line - 1
    with open_bytes(path, container.compression) as stream:
        return b"".join(islice(stream, lines))


def _write_batches(
    path: str,
    container: Container,
    wanted: Int[np.ndarray, " kept"],
    target: Path,
    columns: dict[str, None],
    advance: Advance,
) -> dict[str, Any]:
    batches = iter(_wanted_batches(path, container, wanted))
    with one_line_errors(path):
        batch = next(batches)
        first: dict[str, Any] = batch.slice(0, 1).to_pylist()[0]
        columns.update(dict.fromkeys(batch.schema.names))
        with (
            open_compressed(target, container.compression) as out,
            _writer(path, container, out, batch.schema) as writer,
        ):
            group = [batch]
            for batch in batches:
                if sum(part.num_rows for part in group) >= ROW_GROUP or container.kind == "arrow":
                    _flush(group, writer, advance)
                group.append(batch)
            _flush(group, writer, advance)
    return first


def _wanted_batches(path: str, container: Container, wanted: Int[np.ndarray, " kept"]) -> Iterator[pa.RecordBatch]:
    start = 0
    for batch in iter_batches(path, container):
        low, high = np.searchsorted(wanted, [start, start + batch.num_rows])
        if high > low:
            yield batch.take(pa.array(wanted[low:high] - start))
        start += batch.num_rows
    if start <= wanted[-1]:
        raise _changed(path)


@contextmanager
def _writer(path: str, container: Container, out: BinaryIO, schema: pa.Schema) -> Iterator[Any]:
    if container.kind == "parquet":
        writer = pq.ParquetWriter(out, schema)
    elif _is_ipc_file(path, container):
        writer = pa.ipc.new_file(out, schema)
    else:
        writer = pa.ipc.new_stream(out, schema)
    with writer:
        yield writer


def _is_ipc_file(path: str, container: Container) -> bool:
    with open_bytes(path, container.compression) as stream:
        return stream.read(6) == b"ARROW1"


def _flush(group: list[pa.RecordBatch], writer: Any, advance: Advance) -> None:
    table = pa.Table.from_batches(group)
    writer.write_table(table)
    advance(table.num_rows)
    group.clear()


def _save_dataset(
    dataset: datasets.Dataset, indices: Int[np.ndarray, " kept"], folder: Path, advance: Advance
) -> Subset:
    chosen = dataset.select(np.sort(indices))
    with _no_bars():
        chosen.save_to_disk(str(folder / SAVED_DATASET))
    advance(len(chosen))
    return Subset({SAVED_DATASET: None}, tuple(chosen.column_names), dict(chosen[0]))


@contextmanager
def _no_bars() -> Iterator[None]:
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


@contextmanager
def open_compressed(path: Path, compression: str | None) -> Iterator[Any]:
    """A new file to write bytes to, compressed on the way (no time stamp: the same rows, the same bytes)."""
    if compression is None:
        with path.open("xb") as file:
            yield file
    else:
        with pa.OSFile(str(path), "wb") as file, pa.CompressedOutputStream(file, CODECS[compression]) as stream:
            yield stream


def _changed(path: str) -> DataError:
    return DataError(f"{printable(path)}: has changed since it was read; put it back, or run in a new folder")
