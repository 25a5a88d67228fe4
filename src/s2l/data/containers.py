"""Files of rows: what a file is by its name, its decompressed bytes, and its records one after another."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import pyarrow as pa
import pyarrow.parquet as pq

from s2l.data.json_records import BLANK, json_array, json_lines
from s2l.data.record import Record
from s2l.data.remote import Digest, RemoteBytes, fetched
from s2l.data.table_records import BATCH_ROWS, batch_records, csv_records
from s2l.data.url import is_url, name_of
from s2l.errors import DataError, MachineError, printable, shown

Kind = Literal["jsonl", "json", "csv", "parquet", "arrow"]
Compression = Literal["gz", "zst"]

KINDS: dict[str, Kind] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
CODECS = {"gz": "gzip", "zst": "zstd"}
BOM = b"\xef\xbb\xbf"
BUFFER = 1 << 20


@dataclass(frozen=True)
class Container:
    """How a file stores its rows."""

    kind: Kind
    compression: Compression | None = None
    delimiter: str = ","


def container_of(path: str | Path) -> Container:
    """What the file at a path or URL is by its suffix; a `.json` that starts with `{` is JSON Lines, as is habit.

    Raises DataError for an unknown suffix, an empty file, and one JSON object spread over several lines.
    """
    compression, suffix = _suffixes(path)
    if suffix not in KINDS:
        raise DataError(f"{printable(str(path))}: no known suffix; wanted {', '.join(KINDS)}, also with .gz or .zst")
    with one_line_errors(path):
        if _is_empty(path):
            raise DataError(f"{printable(str(path))}: the file is empty")
    kind = KINDS[suffix]
    if kind == "json" and _starts_with_object(path, compression):
        kind = "jsonl"
    return Container(kind, compression, "\t" if suffix == ".tsv" else ",")


def has_known_suffix(path: str | Path) -> bool:
    """Whether the name is one of a file that can be read."""
    return _suffixes(path)[1] in KINDS


def open_bytes(path: str | Path, compression: str | None, digest: Digest | None = None) -> io.BufferedReader:
    """The file's bytes, decompressed as they are read, over all frames; a truncated file is an OSError.

    digest: told of all bytes as they are stored, where the path is a URL.
    """
    remote = is_url(path)
    if compression is None:
        return io.BufferedReader(RemoteBytes(str(path), digest), BUFFER) if remote else Path(path).open("rb")
    # Not the zstandard package: its reader takes a truncated file for a complete one.
    stored = pa.PythonFile(RemoteBytes(str(path), digest), mode="r") if remote else pa.OSFile(str(path))
    stream = pa.CompressedInputStream(stored, CODECS[compression])
    return io.BufferedReader(cast(io.RawIOBase, stream), BUFFER)


def iter_records(path: str | Path, container: Container, digest: Digest | None = None) -> Iterator[Record]:
    """The records of a file in order, streamed; `digest` as for `open_bytes`.

    Raises DataError where the file itself is broken; what is wrong with one record is its `problem`.
    """
    name = printable(str(path))
    with one_line_errors(path):
        if container.kind in ("parquet", "arrow"):
            yield from batch_records(iter_batches(path, container, digest), name)
            return
        with open_bytes(path, container.compression, digest) as stream:
            if stream.peek(len(BOM))[: len(BOM)] == BOM:
                stream.read(len(BOM))
            if container.kind == "jsonl":
                yield from json_lines(stream)
            elif container.kind == "json":
                yield from json_array(stream, name)
            else:
                yield from csv_records(stream, container.delimiter, name)


def iter_batches(path: str | Path, container: Container, digest: Digest | None = None) -> Iterator[pa.RecordBatch]:
    """The record batches of a Parquet file, or of an Arrow file or stream; `digest` as for `open_bytes`."""
    if container.compression is None:
        source = fetched(str(path), digest) if is_url(path) else pa.memory_map(str(path))
    else:
        with open_bytes(path, container.compression, digest) as stream:
            source = pa.BufferReader(stream.read())
    with source:
        if container.kind == "parquet":
            yield from pq.ParquetFile(source).iter_batches(BATCH_ROWS)
            return
        try:
            reader = pa.ipc.open_file(source)
        except pa.ArrowInvalid:
            source.seek(0)
            yield from pa.ipc.open_stream(source)
        else:
            yield from (reader.get_batch(i) for i in range(reader.num_record_batches))


@contextmanager
def one_line_errors(path: str | Path) -> Iterator[None]:
    """Turn a damaged file into a DataError, and what the system refuses into a MachineError."""
    name = printable(str(path))
    try:
        yield
    except OSError as error:
        if isinstance(error, MachineError):
            raise
        if error.errno is None:
            raise DataError(f"{name}: the file is damaged: {shown(str(error))}; fetch or make it again") from None
        raise MachineError(f"{name}: cannot be read: {printable(error.strerror or str(error))}") from None
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{name}: the file is damaged: {shown(str(error))}; fetch or make it again") from None


def _suffixes(path: str | Path) -> tuple[Compression | None, str]:
    compression: Compression | None = None
    name = Path(name_of(path))
    if name.suffix.lower() in (".gz", ".zst"):
        compression = "gz" if name.suffix.lower() == ".gz" else "zst"
        name = name.with_suffix("")
    return compression, name.suffix.lower()


def _is_empty(path: str | Path) -> bool:
    if not is_url(path):
        return Path(path).stat().st_size == 0
    with open_bytes(path, None) as stream:
        return not stream.peek(1)


def _starts_with_object(path: str | Path, compression: Compression | None) -> bool:
    with one_line_errors(path), open_bytes(path, compression) as stream:
        first = b""
        while not first.removeprefix(BOM).strip(BLANK) and (line := stream.readline(BUFFER)):
            first = line
    text = first.removeprefix(BOM).strip(BLANK)
    if text.startswith(b"{") and not text.endswith(b"}") and first.endswith(b"\n"):
        raise DataError(
            f"{printable(str(path))}: one JSON object over several lines; wanted an array of rows [{{…}}, …] "
            "or one object a line"
        )
    return text.startswith(b"{")
