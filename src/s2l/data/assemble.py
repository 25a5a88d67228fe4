"""From records to a `Pool`: recognise the shape, read every row, give it its id, and say what was met on the way."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain, islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int

from s2l.config import PoolSettings
from s2l.data.formats import Layout, no_column, recognise
from s2l.data.identity import content_id, number_repeats
from s2l.data.record import Placed, Record
from s2l.data.shapes import Malformed, Tally, to_example
from s2l.data.url import name_of
from s2l.data.where import Filter, cell_text
from s2l.errors import DataError, printable, shown
from s2l.progress import Progress
from s2l.types import ID_LENGTH, Pool, Rows

HEAD_ROWS = 100
BATCH_ROWS = 10_000
NO_SOURCE = "(none)"
ONE_SOURCE = "all"


def assemble(
    records: Placed,
    files: tuple[str, ...],
    settings: PoolSettings,
    container: str,
    digest: str | None,
    progress: Progress,
) -> Pool:
    """The pool of these records, in their order. Without a digest of its bytes, that of its ids."""
    name = printable(files[0]) if len(files) == 1 else f"{printable(files[0])}, …"
    filter_ = Filter(settings.where)
    admitted = filter_.admit(records)
    head = list(islice(admitted, HEAD_ROWS))
    if not head:
        raise filter_.none_left(name)
    layout = _layout(head, files, settings, name)
    read = _Read(files, layout, settings, _named_columns(layout, settings))
    with progress.stage("read", None, "rows") as advance:
        for file, record in chain(head, admitted):
            read.add(file, record)
            if len(read.pending) == BATCH_ROWS:
                read.flush()
                advance(BATCH_ROWS)
        advance(len(read.pending))
        read.flush()
    filter_.check(name)
    read.check(name, columns_of(head))
    return _pool(read, layout.describe(columns_of(head)), filter_, container, digest)


def columns_of(records: Iterable[tuple[int, Record]]) -> list[str]:
    """The columns that any of the records has, in order of appearance."""
    return list(dict.fromkeys(column for _, record in records for column in record.value or ()))


@dataclass
class _Read:
    """The rows read so far. unseen: columns named by the user that no row has had yet, with their flag."""

    files: tuple[str, ...]
    layout: Layout
    settings: PoolSettings
    unseen: dict[str, str]
    content_ids: bytearray = field(default_factory=bytearray)
    file: array[int] = field(default_factory=lambda: array("i"))
    row: array[int] = field(default_factory=lambda: array("q"))
    line: array[int] = field(default_factory=lambda: array("q"))
    source: array[int] = field(default_factory=lambda: array("i"))
    sources: dict[str, int] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    pending: list[bytes] = field(default_factory=list)
    chunks: list[pa.Array] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    labels: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.row)

    def place(self, row: int) -> str:
        return f"{printable(self.files[self.file[row]])}:{self.line[row]}"

    def add(self, file: int, record: Record) -> None:
        self.file.append(file)
        self.row.append(record.row)
        self.line.append(record.line)
        try:
            content, source = self._content(record)
        except Malformed as malformed:
            self._add_malformed(record, str(malformed))
            return
        self.content_ids += content_id(content)
        self.pending.append(content)
        self.source.append(-1 if source is None else self.sources.setdefault(source, len(self.sources)))

    def flush(self) -> None:
        self.chunks.append(pa.array(self.pending, pa.large_binary()))
        self.pending.clear()

    def check(self, name: str, columns: list[str]) -> None:
        """After the last record: raises DataError where nothing could be read, or a named column never came."""
        for column, flag in self.unseen.items():
            raise DataError(f"{name}: {flag}{printable(column)}: {no_column(column, columns)}")
        if len(self.reasons) == len(self):
            raise DataError(f"all {len(self)} rows are malformed; the first: {self.place(0)}: {self.reasons[0]}")

    def _content(self, record: Record) -> tuple[bytes, str | None]:
        if record.value is None:
            raise Malformed(record.problem)
        if self.unseen:
            self.unseen = {column: flag for column, flag in self.unseen.items() if column not in record.value}
        try:
            example = to_example(record.value, self.layout, self.tally)
            content = example.to_content()
        except RecursionError:
            raise Malformed("nested too deeply") from None
        if len(self.labels) <= 2 and (label := record.value.get("label")) is not None:
            self.labels[cell_text(label)] += 1
        return content, example.source

    def _add_malformed(self, record: Record, problem: str) -> None:
        row = len(self) - 1
        if self.settings.bad_rows == "stop":
            raise DataError(f"{self.place(row)}: {problem}; mend the row, or leave such rows out: --bad-rows exclude")
        self.reasons[row] = f"malformed: {problem}"
        raw = record.raw if record.raw is not None else repr(record.value or problem).encode("utf-8", "surrogatepass")
        self.content_ids += content_id(b"malformed\0" + raw)
        self.pending.append(b"")
        self.source.append(-1)


def _layout(head: list[tuple[int, Record]], files: tuple[str, ...], settings: PoolSettings, name: str) -> Layout:
    columns = columns_of(head)
    if not columns:
        file, first = head[0]
        problem = first.problem or "an object without columns: '{}'"
        raise DataError(f"{printable(files[file])}:{first.line}: {problem}; no row near the start can be read")
    try:
        return recognise(columns, settings, name)
    except DataError:
        rows = [column for column in columns if len(head) == 1 and _holds_rows(head[0][1].value, column)]
        if rows and settings.format == "auto" and not settings.columns:
            raise DataError(
                f"{name}: one object that holds the rows in {shown(rows[0])}; write that array alone to a file"
            ) from None
        raise


def _holds_rows(value: Mapping[str, Any] | None, column: str) -> bool:
    cell = (value or {}).get(column)
    return isinstance(cell, list) and bool(cell) and all(isinstance(item, dict) for item in cell)


def _named_columns(layout: Layout, settings: PoolSettings) -> dict[str, str]:
    named = {layout.columns[part]: f"--columns {part}=" for part in settings.columns}
    return named | ({settings.source_column: "--source-column "} if settings.source_column else {})


def _pool(read: _Read, description: str, filter_: Filter, container: str, digest: str | None) -> Pool:
    ids, occurrence_N, first_N = number_repeats(np.frombuffer(bytes(read.content_ids), dtype=f"S{ID_LENGTH}"))
    repeated = [row for row in np.flatnonzero(occurrence_N).tolist() if row not in read.reasons]
    notices = [description, *_notices(read, filter_, len(repeated))]
    contents = pa.chunked_array(read.chunks, pa.large_binary())
    if read.settings.repeats == "drop":
        read.reasons |= {row: f"exact repeat of {read.place(int(first_N[row]))}" for row in repeated}
        contents = pc.if_else(pa.array(occurrence_N > 0), pa.scalar(b"", pa.large_binary()), contents)
    source_N, sources = _sources(read)
    rows = Rows(
        ids=ids,
        occurrence_N=occurrence_N,
        source_N=source_N,
        sources=sources,
        file_N=np.array(read.file, dtype=np.int64),
        files=read.files,
        row_N=np.array(read.row, dtype=np.int64),
        line_N=np.array(read.line, dtype=np.int64),
        excluded={bytes(ids[row]): reason for row, reason in read.reasons.items()},
    )
    return Pool(
        rows, contents, digest or sha256(ids.tobytes()).hexdigest(), container, read.layout.format, tuple(notices)
    )


def _sources(read: _Read) -> tuple[Int[np.ndarray, " N"], tuple[str, ...]]:
    """Each row's own source; where no row has one, its file; for one file, a single source."""
    if not read.sources:
        names = [name_of(file) for file in read.files]
        names = names if len(set(names)) == len(names) else list(read.files)
        sources = tuple(dict.fromkeys(names)) if len(names) > 1 else (ONE_SOURCE,)
        code_of_file = np.array([sources.index(name) if len(names) > 1 else 0 for name in names])
        return code_of_file[np.array(read.file, dtype=np.int64)], sources
    own_N = np.array(read.source, dtype=np.int64)
    own = [*read.sources, NO_SOURCE]
    sources = tuple(sorted({*read.sources, *([NO_SOURCE] if (own_N < 0).any() else [])}))
    code_of = {name: code for code, name in enumerate(sources)}
    return np.array([code_of.get(name, -1) for name in own])[own_N], sources


def _notices(read: _Read, filter_: Filter, repeats: int) -> list[str]:
    notices = []
    if filter_.skipped:
        notices.append(f"{filter_.skipped:,} rows skipped by --where")
    bad = sum(count for label, count in read.labels.items() if label in ("false", "False"))
    if (
        bad
        and read.layout.format not in ("text", "tokenized")
        and set(map(str.lower, read.labels)) <= {"true", "false"}
    ):
        good = "True" if "False" in read.labels else "true"
        notices.append(
            f"preference rows: {bad:,} of {read.labels.total():,} have label false (answers marked as bad); "
            f"they are trained on unless you filter: --where label={good}"
        )
    if read.reasons:
        row = next(iter(read.reasons))
        notices.append(f"{len(read.reasons):,} malformed rows excluded; the first: {read.place(row)}")
    if repeats:
        verb = "dropped" if read.settings.repeats == "drop" else "kept (--repeats drop leaves them out)"
        notices.append(f"{repeats:,} exact repeats {verb}")
    if read.tally.numbers:
        notices.append(f"numbers read as text: {read.tally.numbers:,}")
    if read.tally.ignored:
        notices.append(f"keys of messages not read: {', '.join(shown(key)[1:-1] for key in read.tally.ignored)}")
    return notices
