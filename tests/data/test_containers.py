"""Files become records: exact bytes, rows and lines, and one problem per broken record."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from s2l.data.containers import Container, container_of, iter_records
from s2l.data.json_records import CHUNK, json_array
from s2l.data.record import Record
from s2l.errors import DataError, MachineError


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def read(path: Path) -> list[Record]:
    return list(iter_records(path, container_of(path)))


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("a.jsonl", b"{}\n", Container("jsonl")),
        ("a.ndjson.gz", gzip.compress(b"{}\n", mtime=0), Container("jsonl", "gz")),
        ("a.json", b'\n [{"a": 1}]', Container("json")),
        ("a.json", b'{"a": 1}\n{"a": 2}\n', Container("jsonl")),
        ("a.CSV", b"a\n", Container("csv")),
        ("a.tsv.zst", zstandard.compress(b"a\n"), Container("csv", "zst", "\t")),
        ("a.parquet", b"x", Container("parquet")),
        ("a.arrow", b"x", Container("arrow")),
    ],
)
def test_a_file_is_what_its_suffix_says(tmp_path: Path, name: str, content: bytes, wanted: Container) -> None:
    assert container_of(write(tmp_path, name, content)) == wanted


def test_lines_split_at_the_newline_byte_only(tmp_path: Path) -> None:
    lines = ['{"a": "x\u2028y"}'.encode(), '{"a": "x\u0085y"}'.encode(), b'{"a": 1}\r', b"", b'{"a": 2}']
    records = read(write(tmp_path, "a.jsonl", b"\n".join(lines)))
    assert [record.value for record in records] == [{"a": "x\u2028y"}, {"a": "x\u0085y"}, {"a": 1}, {"a": 2}]
    assert [(record.row, record.line) for record in records] == [(0, 1), (1, 2), (2, 3), (3, 5)]
    assert [record.raw for record in records] == [line for line in lines if line]


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    for name, content in (("a.jsonl", b'{"a": "1"}'), ("a.json", b'[{"a": "1"}]'), ("a.csv", b"a\n1\n")):
        assert [record.value for record in read(write(tmp_path, name, b"\xef\xbb\xbf" + content))] == [{"a": "1"}]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"a" 1}', "malformed JSON (Expecting ':' delimiter, character 6) near '{\"a\" 1}'"),
        (b'{"a": "\xff"}', 'not UTF-8 at byte 8: \'{"a": "\\xff"}\''),
        (b"[1, 2]", "not a JSON object {…}: '[1, 2]'"),
        (b"null", "not a JSON object {…}: 'null'"),
        (b'{"a": ' + b"9" * 5000 + b"}", 'JSON with a number of too many digits: \'{"a": ' + "9" * 54 + "…'"),
        (b"[" * 100_000, "JSON nested too deeply: '" + "[" * 60 + "…'"),
    ],
)
def test_a_broken_line_is_one_problem_and_costs_no_other(tmp_path: Path, line: bytes, problem: str) -> None:
    before, broken, after = read(write(tmp_path, "a.jsonl", b'{"a": 0}\n' + line + b'\n{"a": 2}\n'))
    assert (before.value, after.value, broken.value) == ({"a": 0}, {"a": 2}, None)
    assert broken.line == 2
    assert broken.raw == line
    assert broken.problem == problem


def test_nan_and_the_last_of_equal_keys_are_json_as_everyone_reads_it(tmp_path: Path) -> None:
    (record,) = read(write(tmp_path, "a.jsonl", b'{"a": 1, "a": 2, "b": Infinity}'))
    assert record.value == {"a": 2, "b": float("inf")}


def test_elements_of_an_array_keep_their_bytes(tmp_path: Path) -> None:
    content = b'[ {"a": "[,]\\"}"},\n {"a": [1, {"b": "\\\\"}]} , {broken}, {"a": 3}]\n'
    records = read(write(tmp_path, "a.json", content))
    assert [record.raw for record in records] == [
        b'{"a": "[,]\\"}"}',
        b'{"a": [1, {"b": "\\\\"}]}',
        b"{broken}",
        b'{"a": 3}',
    ]
    assert [record.line for record in records] == [1, 2, 3, 4]
    assert [record.problem is None for record in records] == [True, True, False, True]


class Drip:
    """A stream that gives a few bytes at a time, so that every token is cut somewhere."""

    def __init__(self, content: bytes, size: int) -> None:
        self.content, self.size = content, size

    def read(self, _size: int) -> bytes:
        chunk, self.content = self.content[: self.size], self.content[self.size :]
        return chunk


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.dictionaries(st.text(max_size=4), JSON_VALUES, max_size=3), max_size=5), st.integers(1, 9))
def test_an_array_reads_the_same_however_the_bytes_arrive(rows: list[dict[str, object]], size: int) -> None:
    for ascii_ in (True, False):
        content = json.dumps(rows, ensure_ascii=ascii_).encode("utf-8", "surrogatepass")
        if ascii_ or not any(0xD800 <= ord(c) <= 0xDFFF for c in json.dumps(rows, ensure_ascii=False)):
            assert [record.value for record in json_array(Drip(content, size), "a.json")] == rows  # type: ignore[arg-type]


def test_an_element_larger_than_the_buffer_is_read_whole(tmp_path: Path) -> None:
    rows = [{"a": "x" * (2 * CHUNK)}, {"a": "y"}]
    assert [record.value for record in read(write(tmp_path, "a.json", json.dumps(rows).encode()))] == rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"a": 1}, {"a": 2}', "the JSON array does not end after element 2: a bracket or quote is missing"),
        (b'[{"a": "1}, {"b": 2}]', "the JSON array does not end after element 1: a bracket or quote is missing"),
        (b'[{"a": 1}] x', "text after the end of the JSON array; wanted one array of rows"),
        (b'"text"', "no JSON array; wanted [{…}, …] or one object a line"),
        (b'{\n "data": [{"a": 1}]\n}', "one JSON object over several lines; wanted an array of rows [{…}, …]"),
    ],
)
def test_an_array_that_is_none_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path, "a.json", content)
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}: {message}")


def test_csv_records_keep_their_bytes_lines_and_newlines_in_cells(tmp_path: Path) -> None:
    content = b'q,a\r\n"one\r\ntwo",1\r\n\r\n"say ""hi""",\r\n'
    records = read(write(tmp_path, "a.csv", content))
    assert [record.value for record in records] == [{"q": "one\r\ntwo", "a": "1"}, {"q": 'say "hi"', "a": ""}]
    assert [(record.row, record.line) for record in records] == [(0, 2), (1, 5)]
    assert [record.raw for record in records] == [b'"one\r\ntwo",1\r', b'"say ""hi""",\r']


def test_broken_csv_records_cost_no_other(tmp_path: Path) -> None:
    content = b'q,a\n1\n1,2,3\n"x"y,2\n\xff,2\n7,8\n'
    *broken, good = read(write(tmp_path, "a.csv", content))
    assert [record.problem for record in broken] == [
        "1 fields where the header has 2: '1'",
        "3 fields where the header has 2: '1,2,3'",
        "malformed CSV (',' expected after '\"'): '\"x\"y,2'",
        "not UTF-8 at byte 1: '\\xff,2'",
    ]
    assert (good.value, good.line) == ({"q": "7", "a": "8"}, 6)


def test_csv_that_cannot_go_on_is_one_line(tmp_path: Path) -> None:
    for content, message in (
        (b'q,a\n1,2\n"open,3\n4,5\n', ":3: a quote opened here is never closed; close it"),
        (b"q,q\n1,2\n", ": two columns named 'q'; rename one"),
        (b"\n\n", ": no header; wanted a header line with the columns' names"),
    ):
        path = write(tmp_path, "a.csv", content)
        with pytest.raises(DataError) as error:
            read(path)
        assert str(error.value) == f"{path}{message}"


def test_a_cell_may_be_megabytes_long(tmp_path: Path) -> None:
    (record,) = read(write(tmp_path, "a.csv", b"q,a\n" + b"x" * 3_000_000 + b",1\n"))
    assert record.value is not None and len(record.value["q"]) == 3_000_000


def test_several_compressed_frames_are_one_file(tmp_path: Path) -> None:
    parts = [b'{"a": 1}\n', b'{"a": 2}\n']
    for suffix, compress in (("gz", gzip.compress), ("zst", zstandard.compress)):
        path = write(tmp_path, f"a.jsonl.{suffix}", b"".join(map(compress, parts)))
        assert [record.value for record in read(path)] == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_truncated_compressed_file_is_damaged_not_short(tmp_path: Path, suffix: str) -> None:
    content = b"".join(b'{"a": %d}\n' % i for i in range(1000))
    whole = gzip.compress(content) if suffix == "gz" else zstandard.compress(content)
    path = write(tmp_path, f"a.jsonl.{suffix}", whole[:-9])
    with pytest.raises(DataError, match="the file is damaged: 'Truncated compressed stream'; fetch or make it again"):
        read(path)


def test_arrow_files_and_streams_are_both_read(tmp_path: Path) -> None:
    table = pa.table({"a": ["x", "y"], "b": [None, 1]})
    for maker in (pa.ipc.new_file, pa.ipc.new_stream):
        with maker(tmp_path / "a.arrow", table.schema) as writer:
            writer.write_table(table)
        assert [record.value for record in read(tmp_path / "a.arrow")] == table.to_pylist()


def test_arrow_text_that_is_not_utf8_is_a_problem_of_its_row(tmp_path: Path) -> None:
    table = pa.table({"a": pa.array([b"x", b"\xff", b"z"]).view(pa.string())})
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    first, second, third = read(tmp_path / "a.arrow")
    assert (first.value, third.value) == ({"a": "x"}, {"a": "z"})
    assert second.problem == "unreadable value (In column 0: Invalid: Invalid UTF8 sequence at string index 0)"


def test_arrow_text_that_points_outside_its_file_does_not_crash(tmp_path: Path) -> None:
    offsets = pa.py_buffer(np.array([0, 1, 2**30, 3], dtype=np.int32).tobytes())
    wild = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"xyz")])
    with pa.ipc.new_file(tmp_path / "a.arrow", pa.schema({"a": pa.string()})) as writer:
        writer.write_batch(pa.record_batch([wild], ["a"]))
    first, *rest = read(tmp_path / "a.arrow")
    assert first.value == {"a": "x"}
    assert [record.problem is None for record in rest] == [False, False]


def test_files_that_are_no_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the file is empty"):
        container_of(write(tmp_path, "a.jsonl", b""))
    with pytest.raises(DataError, match=r"no known suffix; wanted \.jsonl, \.ndjson, \.json, \.csv"):
        container_of(write(tmp_path, "a.txt", b"x"))
    with pytest.raises(DataError, match="the file is damaged"):
        read(write(tmp_path, "a.parquet", b"PAR1 not really"))
    with pytest.raises(DataError, match="the file is damaged"):
        read(write(tmp_path, "a.arrow", b"not really"))
    with pytest.raises(MachineError, match="cannot be read: No such file"):
        container_of(tmp_path / "none.jsonl")
