"""The chosen rows, written back: the same container, order and bytes, and only they."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s2l.config import PoolSettings
from s2l.data import subset as subset_module
from s2l.data.containers import container_of, iter_records, open_bytes
from s2l.data.pool import pool_from_dataset, read_pool
from s2l.data.subset import Subset, write_subset
from s2l.errors import DataError

ROWS = [{"instruction": f"q{i}", "output": f"a{i}", "source": "even" if i % 2 == 0 else "odd"} for i in range(6)]
ODD = [row for row in ROWS if row["source"] == "odd"]


def write_kept(folder: Path, kept: list[int], *paths: Path) -> Subset:
    rows = read_pool(PoolSettings(paths=tuple(map(str, paths)))).rows
    folder.mkdir(exist_ok=True)
    return write_subset(rows, np.isin(np.arange(len(rows)), kept), folder)


def values(path: Path) -> list[dict[str, str] | None]:
    return [record.value for record in iter_records(path, container_of(path))]


def test_jsonl_lines_keep_every_byte(tmp_path: Path) -> None:
    lines = [
        b'{"instruction":"a", "output" : "b"}',
        b'  {"output": "caf\\u00e9 \xc3\xa9", "instruction": "x\xe2\x80\xa8y\xc2\x85"}\r',
        b"",
        b'{"instruction": "c", "output": "d", "id": 1e5, "id": 100000.0}\t',
        b'{"instruction": "e", "output": "\\ud800"}',
    ]
    (tmp_path / "pool.jsonl").write_bytes(b"\n".join(lines))
    write_kept(tmp_path / "out", [1, 2, 3], tmp_path / "pool.jsonl")
    assert (tmp_path / "out" / "pool.jsonl").read_bytes() == b"\n".join([lines[1], lines[3], lines[4], b""])


@pytest.mark.filterwarnings("error")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(max_size=8), min_size=1, max_size=6), data=st.data())
def test_any_text_is_written_as_it_was_read(tmp_path: Path, texts: list[str], data: st.DataObject) -> None:
    ascii_ = data.draw(st.booleans())
    texts = texts if ascii_ else [text.encode("utf-8", "replace").decode() for text in texts]
    lines = [json.dumps({"prompt": text, "output": "b"}, ensure_ascii=ascii_).encode() for text in texts]
    (tmp_path / "pool.jsonl").write_bytes(b"\n".join(lines))
    kept = data.draw(st.lists(st.integers(0, len(lines) - 1), min_size=1, unique=True))
    write_kept(tmp_path / "out", kept, tmp_path / "pool.jsonl")
    written = (tmp_path / "out" / "pool.jsonl").read_bytes()
    assert written == b"".join(lines[i] + b"\n" for i in sorted(kept))
    (tmp_path / "out" / "pool.jsonl").unlink()


@pytest.mark.parametrize(("suffix", "compress"), [("gz", gzip.compress), ("zst", zstandard.compress)])
def test_compressed_files_stay_compressed(tmp_path: Path, suffix: str, compress) -> None:
    plain = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    path = tmp_path / f"pool.jsonl.{suffix}"
    path.write_bytes(compress(plain))
    write_kept(tmp_path / "out", [1, 3, 5], path)
    assert values(tmp_path / "out" / path.name) == ODD
    assert (tmp_path / "out" / path.name).read_bytes()[:2] == compress(b"")[:2]


def test_elements_of_a_json_array_keep_their_text(tmp_path: Path) -> None:
    elements = [
        '{"prompt": "[1, {", "output":"b"}',
        '{ "prompt" : "c",\n "output": 1.50 }',
        '{"prompt":"","output":"z"}',
    ]
    (tmp_path / "pool.json").write_text("[ " + " ,\n".join(elements) + " ]")
    write_kept(tmp_path / "out", [0, 1], tmp_path / "pool.json")
    assert (tmp_path / "out" / "pool.json").read_text() == f"[\n{elements[0]},\n{elements[1]}\n]\n"


def test_csv_records_and_header_keep_their_text(tmp_path: Path) -> None:
    header = b'\xef\xbb\xbf"prompt",output,"a\nb"\r\n'
    records = [b'x,"1, ""2""",\r\n', b'"two\r\nlines",NA,0.10\r\n', b"\xc3\xa9,z,9"]
    (tmp_path / "pool.csv").write_bytes(header + b"\r\n" + b"".join(records))
    write_kept(tmp_path / "out", [1, 2], tmp_path / "pool.csv")
    written = tmp_path / "out" / "pool.csv"
    assert written.read_bytes() == header + b"\r\n" + records[1] + records[2] + b"\n"
    assert values(written) == values(tmp_path / "pool.csv")[1:]


def test_tabs_stay_tabs(tmp_path: Path) -> None:
    (tmp_path / "pool.tsv").write_bytes(b"prompt\toutput\na,b\tc\nd\te\n")
    write_kept(tmp_path / "out", [0], tmp_path / "pool.tsv")
    assert (tmp_path / "out" / "pool.tsv").read_bytes() == b"prompt\toutput\na,b\tc\n"


@pytest.mark.parametrize("suffix", ["parquet", "parquet.gz", "parquet.zst"])
def test_parquet_keeps_schema_and_metadata(tmp_path: Path, suffix: str) -> None:
    schema = pa.schema(
        [pa.field("output", pa.large_string(), metadata={b"k": b"v"}), ("prompt", pa.string()), ("n", pa.int8())],
        metadata={b"origin": b"here"},
    )
    table = pa.table([[f"a{i}" for i in range(9)], [f"q{i}" for i in range(9)], list(range(9))], schema=schema)
    plain, path = tmp_path / "plain", tmp_path / f"pool.{suffix}"
    pq.write_table(table, plain, row_group_size=2)
    compress = {"gz": gzip.compress, "zst": zstandard.compress}.get(path.suffix[1:], bytes)
    path.write_bytes(compress(plain.read_bytes()))
    subset = write_kept(tmp_path / "out", [0, 3, 4, 8], path)
    with open_bytes(tmp_path / "out" / path.name, container_of(path).compression) as stream:
        written = pq.read_table(pa.BufferReader(stream.read()))
    assert written.equals(table.take([0, 3, 4, 8]), check_metadata=True)
    assert subset.columns == ("output", "prompt", "n") and subset.first == {"output": "a0", "prompt": "q0", "n": 0}


def test_parquet_is_written_in_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subset_module, "ROW_GROUP", 1500)
    numbers = [str(i) for i in range(5000)]
    pq.write_table(pa.table({"prompt": numbers, "output": numbers}), tmp_path / "pool.parquet")
    write_kept(tmp_path / "out", list(range(100, 5000)), tmp_path / "pool.parquet")
    written = pq.ParquetFile(tmp_path / "out" / "pool.parquet")
    assert written.num_row_groups > 1
    assert written.read().column("prompt").to_pylist() == numbers[100:]


@pytest.mark.parametrize("new", [pa.ipc.new_file, pa.ipc.new_stream])
def test_arrow_files_stay_files_and_streams_stay_streams(tmp_path: Path, new) -> None:
    table = pa.table({"prompt": ["a", "b", "c", "d"], "output": pa.array(["x", "y", "x", "y"]).dictionary_encode()})
    with new(str(tmp_path / "pool.arrow"), table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    write_kept(tmp_path / "out", [1, 2], tmp_path / "pool.arrow")
    opened = pa.ipc.open_file if new is pa.ipc.new_file else pa.ipc.open_stream
    with pa.OSFile(str(tmp_path / "out" / "pool.arrow")) as file:
        assert opened(file).read_all().equals(table.slice(1, 2))


def test_a_saved_dataset_is_saved_again_without_a_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    capsys.readouterr()
    dataset = datasets.load_from_disk(str(tmp_path / "saved"))
    rows = read_pool(PoolSettings(paths=(str(tmp_path / "saved"),))).rows
    subset = write_subset(rows, np.arange(6) % 2 == 1, tmp_path, dataset)
    assert list(datasets.load_from_disk(str(tmp_path / "dataset"))) == ODD
    assert subset.files == {"dataset": None} and subset.first == ODD[0]
    assert capsys.readouterr().err == ""
    assert not datasets.are_progress_bars_disabled()


def test_a_dataset_in_memory_is_saved(tmp_path: Path) -> None:
    dataset = datasets.Dataset.from_list(ROWS)
    write_subset(pool_from_dataset(dataset).rows, np.arange(6) % 2 == 1, tmp_path, dataset)
    assert list(datasets.load_from_disk(str(tmp_path / "dataset"))) == ODD


def test_files_of_one_name_get_numbers_and_files_without_a_kept_row_are_left_out(tmp_path: Path) -> None:
    paths = [tmp_path / folder / name for folder, name in [("a", "p.jsonl"), ("b", "P.jsonl"), ("c", "q.jsonl")]]
    for path, text in zip(paths, ["one", "two", "three"], strict=True):
        path.parent.mkdir()
        path.write_text(json.dumps({"prompt": text, "output": text}) + "\n")
    subset = write_kept(tmp_path / "out", [0, 1], *paths)
    assert list(subset.files) == ["p.jsonl", "2-P.jsonl"]
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == ["2-P.jsonl", "p.jsonl"]
    assert "two" in (tmp_path / "out" / "2-P.jsonl").read_text()


def test_a_pool_named_like_our_own_file_gives_way(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["a"], "output": ["b"]}), tmp_path / "selection.parquet")
    assert list(write_kept(tmp_path / "out", [0], tmp_path / "selection.parquet").files) == ["2-selection.parquet"]


def test_rows_left_out_by_a_filter_do_not_shift_the_others(tmp_path: Path) -> None:
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    rows = read_pool(PoolSettings(paths=(str(tmp_path / "pool.jsonl"),), where={"source": "odd"})).rows
    (tmp_path / "out").mkdir()
    write_subset(rows, np.array([True, False, True]), tmp_path / "out")
    assert values(tmp_path / "out" / "pool.jsonl") == [ROWS[1], ROWS[5]]


@pytest.mark.parametrize("name", ["pool.jsonl", "pool.parquet"])
def test_a_file_that_changed_since_it_was_read_is_an_error(tmp_path: Path, name: str) -> None:
    def write(rows: list[dict[str, str]]) -> None:
        if name.endswith("parquet"):
            pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
        else:
            (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    write(ROWS)
    rows = read_pool(PoolSettings(paths=(str(tmp_path / name),))).rows
    write(ROWS[:4])
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=f"{name}: has changed since it was read"):
        write_subset(rows, np.ones(6, bool), tmp_path / "out")
