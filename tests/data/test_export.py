"""One finished selection as files: the verdict on every row, the card, and all of them together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from toy_selection import toy_recorded, toy_selection

from s2l.config import PoolSettings
from s2l.data.card import Origin, card, code, front_matter
from s2l.data.export import export, write_selection
from s2l.data.pool import pool_from_dataset, read_pool
from s2l.data.subset import Subset
from s2l.types import Pool

ROWS = [{"instruction": f"q{i}", "output": f"a{i}", "source": f"s{i % 2}"} for i in range(4)]
ORIGIN = Origin("50%", "builtin", 7, "s2l run pool.jsonl --budget 50%", "strong")
HOSTILE = "<script>|`x```[a](http://b)\n# \ud800 \x1b[31m" + "y" * 99


def settings_of(folder: Path, rows: list[Any], bad_rows: str = "exclude") -> PoolSettings:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "pool.jsonl").write_text("\n".join(lines))
    return PoolSettings(paths=(str(folder / "pool.jsonl"),), bad_rows=bad_rows)


def card_of(pool: Pool, kept: list[int], origin: Origin = ORIGIN) -> str:
    subset = Subset({"pool.jsonl": None}, (), {})
    return card(origin, pool.rows, toy_selection(pool.rows, kept), toy_recorded(pool.rows), subset, {"TRL": "run"})


def test_everything_is_written(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, ROWS)
    pool = read_pool(settings)
    out = tmp_path / "out"
    out.mkdir()
    selection, recorded = toy_selection(pool.rows, [1, 3]), toy_recorded(pool.rows)
    export(settings, pool.container, pool.rows, selection, recorded, ORIGIN, 512, out)
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "axolotl.yaml",
        "llamafactory",
        "llamafactory.yaml",
        "pool.jsonl",
        "selection.parquet",
        "trl_train.py",
    ]
    assert (out / "pool.jsonl").read_text() == json.dumps(ROWS[1]) + "\n" + json.dumps(ROWS[3]) + "\n"


@pytest.mark.parametrize("container", ["dataset", "memory"])
def test_a_dataset_is_exported_as_one(tmp_path: Path, container: str) -> None:
    dataset = datasets.Dataset.from_list(ROWS)
    dataset.save_to_disk(tmp_path / "saved")
    settings = PoolSettings(paths=(str(tmp_path / "saved"),))
    pool = read_pool(settings) if container == "dataset" else pool_from_dataset(dataset)
    out = tmp_path / "out"
    out.mkdir()
    selection, recorded = toy_selection(pool.rows, [1, 3]), toy_recorded(pool.rows)
    in_memory = dataset if container == "memory" else None
    assert pool.container == container
    export(settings, container, pool.rows, selection, recorded, ORIGIN, 512, out, in_memory)
    assert list(datasets.load_from_disk(str(out / "dataset"))) == [ROWS[1], ROWS[3]]
    assert "load_from_disk" in (out / "trl_train.py").read_text()
    assert "dataset/*.arrow" in (out / "README.md").read_text()


def test_every_row_has_its_verdict_in_file_order(tmp_path: Path) -> None:
    pool = read_pool(settings_of(tmp_path, [ROWS[0], "", "{bad", ROWS[0], ROWS[1]]))
    selection, recorded = toy_selection(pool.rows, [0]), toy_recorded(pool.rows)
    write_selection(pool.rows, selection, recorded, tmp_path / "selection.parquet")
    table = pq.read_table(tmp_path / "selection.parquet")
    assert table.column_names == [
        *("id", "file", "line", "source", "kept", "reason"),
        *("cluster", "score", "distance", "tokens", "response_tokens", "occurrence", "trained_on"),
    ]
    columns = table.to_pydict()
    assert columns["id"] == [id_.decode() for id_ in pool.rows.ids.tolist()]
    assert columns["line"] == [1, 3, 4, 5]
    assert columns["kept"] == [True, False, False, False]
    assert [reason.split(":")[0] for reason in columns["reason"]] == ["drawn", "excluded", "not drawn", "not drawn"]
    assert columns["cluster"] == [0, None, 0, 0] and columns["score"] == [0.5, None, 0.5, 0.5]
    assert columns["occurrence"] == [0, 0, 1, 0]
    assert all(columns["trained_on"])
    by_id = dict(zip(columns["id"], columns["response_tokens"], strict=True))
    assert [by_id[id_.decode()] for id_ in recorded.trajectories.ids.tolist()] == [1, 2, 3]
    assert columns["tokens"] == [None if n is None else n + 10 for n in columns["response_tokens"]]


def test_the_parquet_file_holds_any_source_name(tmp_path: Path) -> None:
    pool = read_pool(settings_of(tmp_path, [ROWS[0] | {"source": HOSTILE}]))
    write_selection(pool.rows, toy_selection(pool.rows, [0]), toy_recorded(pool.rows), tmp_path / "s.parquet")
    assert pq.read_table(tmp_path / "s.parquet")["source"].to_pylist() == [HOSTILE.replace("\ud800", "\\ud800")]


def test_the_card_says_what_a_person_asks(tmp_path: Path) -> None:
    pool = read_pool(settings_of(tmp_path, [*ROWS, "{bad", "[1]"]))
    selection = toy_selection(pool.rows, [1, 3])
    text = card_of(pool, [1, 3])
    assert "| rows | 2 of 6 read (33.3%); 4 could be chosen |" in text
    assert "| `malformed` | 2 |" in text
    assert "| `s0` | 2 | 33.3% | 0 | 0.0% |" in text and "| `s1` | 2 | 33.3% | 2 | 100.0% |" in text
    assert f"| selection_sha256 | `{selection.sha256}` |" in text
    assert "\n    s2l run pool.jsonl --budget 50%\n" in text
    assert "The licence of the pool applies." in text
    assert "| `clusters` | `1` |" in text and "sizes" not in text


def test_the_card_has_no_exclusions_where_there_are_none(tmp_path: Path) -> None:
    assert "could not be chosen\n\n(none)\n" in card_of(read_pool(settings_of(tmp_path, ROWS)), [0])


def test_many_sources_are_cut(tmp_path: Path) -> None:
    rows = [ROWS[0] | {"source": f"s{i}"} for i in range(60)]
    text = card_of(read_pool(settings_of(tmp_path, rows)), [0])
    assert "| and 10 more | | | | |" in text
    assert text.count("| 1 | 1.7% |") == 50


def test_hostile_text_stays_inside_its_cell(tmp_path: Path) -> None:
    pool = read_pool(settings_of(tmp_path, [ROWS[0] | {"source": HOSTILE}]))
    pool = replace(pool, rows=replace(pool.rows, files=(HOSTILE,)))
    text = card_of(pool, [0], Origin(HOSTILE, HOSTILE, 0, HOSTILE, HOSTILE))
    text.encode()
    lines = [line for line in text.splitlines() if "<script>" in line]
    assert len(lines) == 6
    for line in lines[:-1]:
        assert line.startswith("| ") and "\x1b" not in line
        assert line.count(" ````<script>\\|`x```") == 1 and line.count("```` |") == 1
    assert lines[-1].startswith("    <script>")


@pytest.mark.parametrize(
    ("text", "written"),
    [("a", "`a`"), ("`", "`` ` ``"), ("a|b", "`a\\|b`"), ("", "(empty)"), (" x", "`  x `"), ("a``b", "```a``b```")],
)
def test_a_code_span_cannot_be_left(text: str, written: str) -> None:
    assert code(text) == written


@pytest.mark.parametrize(
    ("rows", "size"), [(1, "n<1K"), (1000, "1K<n<10K"), (30_000, "10K<n<100K"), (2 * 10**6, "n>1M")]
)
def test_the_head_of_the_card_is_yaml_that_finds_the_rows(rows: int, size: str) -> None:
    _, head, _ = front_matter(Subset({"a: #b.jsonl": None, "c.jsonl": None}, (), {}), rows).split("---\n")
    parsed = yaml.safe_load(head)
    assert parsed["size_categories"] == [size]
    assert parsed["configs"][0]["data_files"] == [{"split": "train", "path": ["a: #b.jsonl", "c.jsonl"]}]


def test_the_card_counts_what_was_kept(tmp_path: Path) -> None:
    pool = read_pool(settings_of(tmp_path, ROWS))
    assert "# 4 rows chosen by s2l" in card_of(pool, list(np.arange(4)))
