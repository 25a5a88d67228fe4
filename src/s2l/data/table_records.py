"""Records of CSV and of Arrow record batches."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import pyarrow as pa

from s2l.data.record import Record, not_utf8
from s2l.errors import DataError, printable, shown

BATCH_ROWS = 1000
LONGEST_CELL = 2**31 - 1


def csv_records(stream: BinaryIO, delimiter: str, name: str) -> Iterator[Record]:
    """Records of CSV with a header, every cell a string; wrong quoting is a problem, never mended."""
    csv.field_size_limit(LONGEST_CELL)
    parsed = _parsed(stream, delimiter, name)
    header = _header(parsed, name)
    for row, (line, raw, fields, problem) in enumerate(parsed):
        if problem is not None:
            yield Record(row, line, None, raw, problem)
        elif len(fields) != len(header):
            text = shown(raw.decode("utf-8", "replace"))
            yield Record(row, line, None, raw, f"{len(fields)} fields where the header has {len(header)}: {text}")
        else:
            yield Record(row, line, dict(zip(header, fields, strict=True)), raw)


def _header(parsed: Iterator[tuple[int, bytes, list[str], str | None]], name: str) -> list[str]:
    _, _, header, problem = next(parsed, (0, b"", [], "no header"))
    if problem is not None:
        raise DataError(f"{name}: {problem}; wanted a header line with the columns' names")
    if repeated := sorted({column for column in header if header.count(column) > 1}):
        raise DataError(f"{name}: two columns named {shown(repeated[0])}; rename one")
    return header


def _parsed(stream: BinaryIO, delimiter: str, name: str) -> Iterator[tuple[int, bytes, list[str], str | None]]:
    """(line, raw, fields, problem) of the header and of every record; blank lines are skipped."""
    consumed: list[bytes] = []

    def lines() -> Iterator[str]:
        for line in stream:
            consumed.append(line)
            yield line.decode("utf-8", "surrogateescape")

    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    fields: list[str] = []
    while True:
        line, problem = reader.line_num + 1, None
        consumed.clear()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise DataError(f"{name}:{line}: a quote opened here is never closed; close it") from None
            end = f", lines {line}-{reader.line_num}" if reader.line_num > line else ""
            start = consumed[0].decode("utf-8", "replace").rstrip("\r\n")
            problem = f"malformed CSV ({printable(str(error))}{end}): {shown(start)}"
        raw = b"".join(consumed).removesuffix(b"\n")
        if fields or problem:
            yield line, raw, fields, problem or _undecodable(raw)


def _undecodable(raw: bytes) -> str | None:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return not_utf8(raw, error)
    return None


def batch_records(batches: Iterable[pa.RecordBatch], name: str) -> Iterator[Record]:
    """Records of Arrow record batches; a row with text that is not UTF-8 is a problem."""
    row = 0
    for whole in batches:
        names = whole.schema.names
        if repeated := [column for column in names if names.count(column) > 1]:
            raise DataError(f"{name}: two columns named {shown(repeated[0])}; rename one")
        for start in range(0, whole.num_rows, BATCH_ROWS):
            for value, problem in _values(whole.slice(start, BATCH_ROWS)):
                yield Record(row, row + 1, value, None, problem)
                row += 1


def _values(batch: pa.RecordBatch) -> Iterator[tuple[dict[str, Any] | None, str | None]]:
    try:
        batch.validate(full=True)  # a damaged Arrow file would otherwise crash the process
        yield from ((value, None) for value in batch.to_pylist())
    except (ValueError, OverflowError) as error:
        if batch.num_rows > 1:
            for row in range(batch.num_rows):
                yield from _values(batch.slice(row, 1))
        else:
            yield None, f"unreadable value ({printable(str(error))})"
