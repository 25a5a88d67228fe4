"""A pool is the same rows with the same ids, whatever file they come from, or one line that says why not."""

from __future__ import annotations

import csv
import gzip
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s2l.config import PoolSettings
from s2l.data.identity import content_id, number_repeats, repeat_id
from s2l.data.pool import layout_of, pool_from_dataset, read_pool
from s2l.errors import DataError
from s2l.types import Pool

Row = dict[str, Any]
ROWS: list[Row] = [
    {"instruction": "Add 1 and 2.", "input": "", "output": "3", "source": "sums"},
    {"instruction": "Double it.", "input": "4", "output": "8", "source": "products"},
    {"instruction": "Greet.", "input": None, "output": "Hello,\n\u2028“world”", "source": None},
]


def write_jsonl(path: Path, rows: list[Row]) -> Path:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(text.encode())
    return path


def write_csv(path: Path, rows: list[Row]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_arrow(path: Path, rows: list[Row]) -> Path:
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
    return path


def write_all(folder: Path, rows: list[Row]) -> list[Path]:
    """The same rows in every container, plain and compressed."""
    (folder / "p.json").write_text(json.dumps(rows, indent=1))
    pq.write_table(pa.Table.from_pylist(rows), folder / "p.parquet")
    plain = [
        write_jsonl(folder / "p.jsonl", rows),
        folder / "p.json",
        write_csv(folder / "p.csv", rows),
        write_csv(folder / "p.tsv", rows),
        folder / "p.parquet",
        write_arrow(folder / "p.arrow", rows),
    ]
    for path in plain:
        Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
        Path(f"{path}.zst").write_bytes(zstandard.compress(path.read_bytes()))
    return plain + [Path(f"{path}{suffix}") for path in plain for suffix in (".gz", ".zst")]


def read(*paths: Path | str, **rest: Any) -> Pool:
    return read_pool(PoolSettings(paths=tuple(map(str, paths)), **rest))


def error_of(*paths: Path | str, **rest: Any) -> str:
    with pytest.raises(DataError) as error:
        read(*paths, **rest)
    message = str(error.value)
    assert "\n" not in message
    return message


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)
ROW = st.fixed_dictionaries(
    {"instruction": TEXT, "input": TEXT | st.none(), "output": TEXT, "source": TEXT.filter(bool) | st.none()}
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROW, min_size=1, max_size=4))
def test_every_container_gives_the_same_ids(tmp_path: Path, rows: list[Row]) -> None:
    rows = [{"instruction": "schema", "input": "x", "output": "y", "source": "z"}, *rows]
    pools = [read(path) for path in write_all(tmp_path, rows)]
    pools.append(pool_from_dataset(datasets.Dataset.from_list(rows)))
    for pool in pools:
        assert pool.rows.ids.tolist() == pools[0].rows.ids.tolist()
        assert pool.contents.equals(pools[0].contents)
        assert pool.rows.sources == pools[0].rows.sources
        assert pool.rows.source_N.tolist() == pools[0].rows.source_N.tolist()


def test_a_pool_holds_rows_places_sources_and_the_digest_of_its_file(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "p.jsonl", ROWS)
    pool = read(path)
    assert [turn.text for turn in pool.example(1).turns] == ["Double it.", "4", "8"]
    assert (pool.container, pool.format, len(pool)) == ("jsonl", "instruction", 3)
    assert pool.digest == sha256(path.read_bytes()).hexdigest()
    assert pool.rows.sources == ("(none)", "products", "sums")
    assert pool.rows.source_N.tolist() == [2, 1, 0]
    assert pool.rows.place(2) == f"{path}:3"
    assert pool.rows.ids.dtype == "S24" and pool.rows.ids[0] == content_id(pool.example(0).to_content())
    assert pool.notices == ("format: instruction (prompt=instruction, response=output, input), source column: source",)


def test_messages_agree_between_jsonl_and_parquet_that_fills_in_nulls(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"name": "f", "arguments": {"x": 1}}]}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"name": "g", "arguments": {"y": 1}}]}], "source": "s"},
    ]
    pq.write_table(pa.Table.from_pylist(rows, _messages_schema()), tmp_path / "p.parquet")
    ids = read(write_jsonl(tmp_path / "p.jsonl", rows)).rows.ids
    assert read(tmp_path / "p.parquet").rows.ids.tolist() == ids.tolist()


def _messages_schema() -> pa.Schema:
    arguments = pa.struct([("y", pa.int64()), ("x", pa.int64())])
    call = pa.struct([("arguments", arguments), ("name", pa.string())])
    message = pa.struct(
        [("content", pa.string()), ("role", pa.string()), ("weight", pa.int64()), ("tool_calls", pa.list_(call))]
    )
    return pa.schema([("messages", pa.list_(message)), ("source", pa.string()), ("tools", pa.string())])


def test_row_order_does_not_matter(tmp_path: Path) -> None:
    rows = [*ROWS, ROWS[0], ROWS[0]]
    forward = read(write_jsonl(tmp_path / "a.jsonl", rows))
    backward = read(write_jsonl(tmp_path / "b.jsonl", rows[::-1]))
    assert sorted(forward.rows.ids) == sorted(backward.rows.ids)
    assert forward.rows.sources == backward.rows.sources


def test_other_columns_do_not_change_ids_but_the_source_does(tmp_path: Path) -> None:
    ids = read(write_jsonl(tmp_path / "a.jsonl", ROWS)).rows.ids
    noted = [{"note": i, **row} for i, row in enumerate(ROWS)]
    assert read(write_jsonl(tmp_path / "b.jsonl", noted)).rows.ids.tolist() == ids.tolist()
    moved = [{**row, "source": "other"} for row in ROWS]
    assert not set(read(write_jsonl(tmp_path / "c.jsonl", moved)).rows.ids) & set(ids)


def test_exact_repeats_are_distinct_ids_and_counted(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "p.jsonl", [ROWS[0], ROWS[1], ROWS[0], ROWS[0]])
    pool = read(path)
    first = pool.rows.ids[0]
    assert pool.rows.occurrence_N.tolist() == [0, 0, 1, 2]
    assert pool.rows.ids[2:].tolist() == [repeat_id(first, 1), repeat_id(first, 2)]
    assert pool.notices[1:] == ("2 exact repeats kept (--repeats drop leaves them out)",)
    dropped = read(path, repeats="drop")
    assert dropped.rows.ids.tolist() == pool.rows.ids.tolist()
    assert set(dropped.rows.excluded.values()) == {f"exact repeat of {path}:1"}
    assert [len(content) > 0 for content in dropped.contents.to_pylist()] == [True, True, False, False]
    assert dropped.notices[1:] == ("2 exact repeats dropped",)


@given(st.lists(st.sampled_from([content_id(b"a"), content_id(b"b"), content_id(b"c")]), min_size=1))
def test_occurrences_count_up_from_the_first(ids: list[bytes]) -> None:
    unique, occurrence_N, first_N = number_repeats(np.array(ids))
    assert len(set(unique.tolist())) == len(ids)
    assert occurrence_N.tolist() == [ids[:row].count(id_) for row, id_ in enumerate(ids)]
    assert first_N.tolist() == [ids.index(id_) for id_ in ids]


def test_several_files_are_several_sources_that_are_no_part_of_the_id(tmp_path: Path) -> None:
    plain = [{"prompt": row["instruction"], "response": row["output"]} for row in ROWS]
    whole = read(write_jsonl(tmp_path / "whole.jsonl", plain))
    parts = [write_jsonl(tmp_path / "a.jsonl", plain[:1]), write_jsonl(tmp_path / "b.jsonl", plain[1:])]
    pool = read(*parts)
    assert pool.rows.ids.tolist() == whole.rows.ids.tolist()
    assert (whole.rows.sources, whole.rows.source_N.tolist()) == (("all",), [0, 0, 0])
    assert (pool.rows.sources, pool.rows.source_N.tolist()) == (("a.jsonl", "b.jsonl"), [0, 1, 1])
    assert (pool.rows.file_N.tolist(), pool.rows.row_N.tolist()) == ([0, 1, 1], [0, 0, 1])
    assert pool.rows.place(2) == f"{parts[1]}:2"
    digests = b"".join(sha256(path.read_bytes()).digest() for path in parts)
    assert pool.digest == sha256(digests).hexdigest()


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    paths = [write_jsonl(tmp_path / name, [{"text": name}]) for name in ("p.jsonl", "x/p.jsonl")]
    assert read(*paths).rows.sources == tuple(map(str, paths))


def test_where_reads_only_rows_that_match_and_keeps_their_places(tmp_path: Path) -> None:
    rows = [
        {"text": "a", "label": True, "n": 1},
        {"text": "b", "label": False, "n": 1},
        {"text": "c", "label": True, "n": None},
        {"text": "d", "label": True, "n": 1},
    ]
    path = write_jsonl(tmp_path / "p.jsonl", rows)
    pool = read(path, where={"label": "true", "n": "1"})
    assert [pool.example(i).turns[0].text for i in range(len(pool))] == ["a", "d"]
    assert pool.rows.row_N.tolist() == [0, 3]
    assert pool.notices[1:] == ("2 rows skipped by --where",)
    assert len(read(path, where={"n": "null"})) == 1
    assert error_of(path, where={"label": "yes"}) == (
        f"{path}: --where label=yes leaves none of 4 rows; values seen of label: true, false"
    )
    assert error_of(path, where={"lable": "true"}) == (
        f"{path}: --where lable=true: no row has a column 'lable' (did you mean 'label'?); there are: text, label, n"
    )


def test_answers_marked_as_bad_are_announced(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "completion": str(i), "label": i % 3 > 0} for i in range(6)]
    loud = (
        "preference rows: 2 of 6 have label false (answers marked as bad); "
        "they are trained on unless you filter: --where label=true"
    )
    path = write_jsonl(tmp_path / "p.jsonl", rows)
    assert read(path).notices[1:] == (loud,)
    assert read(path, where={"label": "true"}).notices[1:] == ("2 rows skipped by --where",)
    assert read(write_csv(tmp_path / "p.csv", rows)).notices[1:] == (loud.replace("label=true", "label=True"),)
    scored = [{**row, "label": "good"} for row in rows]
    assert read(write_jsonl(tmp_path / "s.jsonl", scored)).notices[1:] == ()


def test_a_malformed_row_stops_with_one_line(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'{"text": "a"}\n\n{"text": "b\x1b[31m"}\n{"text": "c"}\n')
    assert error_of(path) == (
        f'{path}:3: malformed JSON (Invalid control character at, character 12) near \'{{"text": "b\\x1b[31m"}}\'; '
        "mend the row, or leave such rows out: --bad-rows exclude"
    )


def test_malformed_rows_can_be_excluded_and_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'{"text": "a"}\n\n{"text" "b"}\n{"text": "c"}\n{"text" "b"}\n{"id": "\xe2\x80\xa8"}\n')
    pool = read(path, bad_rows="exclude")
    assert pool.rows.line_N.tolist() == [1, 3, 4, 5, 6]
    assert len(set(pool.rows.ids.tolist())) == 5
    broken = "malformed: malformed JSON (Expecting ':' delimiter, character 9) near '{\"text\" \"b\"}'"
    lacking = "malformed: the row has no 'text'; it has: id"
    reasons = [pool.rows.excluded.get(id_) for id_ in pool.rows.ids.tolist()]
    assert reasons == [None, broken, None, broken, lacking]
    assert [len(content) > 0 for content in pool.contents.to_pylist()] == [True, False, True, False, False]
    assert pool.notices[1:] == (f"3 malformed rows excluded; the first: {path}:3",)


def test_mixed_shapes_are_malformed_rows(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "p.jsonl", [{"prompt": "a", "response": "b"}, {"conversation": "c"}])
    assert error_of(path) == (
        f"{path}:2: the row has no 'prompt' or 'response'; it has: conversation; "
        "mend the row, or leave such rows out: --bad-rows exclude"
    )


def test_lone_surrogates_and_deep_nesting_do_not_crash(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'{"text": "\\ud800", "source": "\\udfff"}\n{"text": "ok"}\n')
    pool = read(path)
    assert pool.example(0).turns[0].text == "\ud800"
    assert pool.rows.sources == ("(none)", "\udfff")
    path.write_bytes(b'{"messages": [], "tools": ' + b"[" * 200 + b"]" * 200 + b"}\n")
    assert error_of(path).startswith(f"{path}:1: JSON nested more than 100 deep; mend the row")
    assert error_of(path, where={"tools": "x"}).startswith(f"{path}: --where tools=x leaves none of 1 rows")
    path.write_bytes(b'{"messages": ' + b"[" * 90_000 + b"]" * 90_000 + b"}\n")
    assert error_of(path).startswith(f"{path}:1: JSON nested too deeply: ")


def test_pools_that_hold_nothing_to_read_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b"\n \n")
    assert error_of(path) == f"{path}: the file holds no rows"
    path.write_bytes(b"")
    assert error_of(path) == f"{path}: the file is empty"
    path.write_bytes(b"{}\n{}\n")
    assert error_of(path) == f"{path}:1: an object without columns: '{{}}'; no row near the start can be read"
    path.write_bytes(b'{"messages": "x"}\n' * 2)
    assert error_of(path, bad_rows="exclude") == (
        f"all 2 rows are malformed; the first: {path}:1: malformed: messages is neither a list nor the JSON of one: 'x'"
    )
    path.write_bytes(b'{"data": [{"text": "a"}]}')
    assert error_of(path) == f"{path}: one object that holds the rows in 'data'; write that array alone to a file"
    (tmp_path / "p.csv").write_bytes(b"text\n")
    assert error_of(tmp_path / "p.csv") == f"{tmp_path / 'p.csv'}: the file holds no rows"


def test_files_of_two_kinds_are_refused(tmp_path: Path) -> None:
    paths = [write_jsonl(tmp_path / "a.jsonl", ROWS), write_csv(tmp_path / "b.csv", ROWS)]
    assert error_of(*paths) == ("files of different kinds: csv, jsonl; convert them to one kind, or read one kind")


def test_a_named_column_may_come_late_but_must_come(tmp_path: Path) -> None:
    rows: list[Row] = [{"prompt": str(i), "response": "r"} for i in range(150)]
    rows[140]["persona"] = "Be kind."
    path = write_jsonl(tmp_path / "p.jsonl", rows)
    assert read(path, columns={"system": "persona"}).example(140).turns[0].text == "Be kind."
    assert error_of(path, columns={"system": "person"}) == (
        f"{path}: --columns system=person: no row has a column 'person'; there are: prompt, response"
    )
    assert error_of(path, source_column="task").startswith(f"{path}: --source-column task: no row has a column 'task'")


def test_optional_columns_that_come_late_are_read(tmp_path: Path) -> None:
    rows: list[Row] = [{"instruction": str(i), "output": "r"} for i in range(150)]
    rows[140] |= {"input": "late", "source": "s"}
    pool = read(write_jsonl(tmp_path / "p.jsonl", rows))
    assert [turn.text for turn in pool.example(140).turns] == ["140", "late", "r"]
    assert pool.rows.sources == ("(none)", "s")


def test_numbers_and_unknown_keys_are_counted_not_hidden(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": 7, "name\x1b": "Ann"}]}]
    assert read(write_jsonl(tmp_path / "p.jsonl", rows)).notices[1:] == (
        "numbers read as text: 1",
        "keys of messages not read: name\\x1b",
    )


def test_more_rows_than_a_batch_keep_their_order(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "p.jsonl", [{"text": str(i)} for i in range(10_001)])
    pool = read(path)
    assert pool.contents.num_chunks == 2
    assert pool.example(10_000).turns[0].text == "10000"
    assert len(set(pool.rows.ids.tolist())) == 10_001


def test_the_layout_can_be_asked_for_alone(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "p.jsonl", ROWS)
    layout, present = layout_of(PoolSettings(paths=(str(path),)))
    assert layout.format == "instruction"
    assert present == {"prompt": "instruction", "response": "output", "input": "input"}
