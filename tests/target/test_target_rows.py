"""What is trained on: the rows of a subset, of the pool, of a file, in the words that the model knows."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from target_toys import asked, rows_for

from s2l.data.tokens import load_tokens
from s2l.errors import DataError, RunFolderError, SettingsError
from s2l.files import read_json
from s2l.target.rows import rows_of, rows_of_pool
from toy_runs import kept_ids, s2l, tiny_llama

SUBSET = "s2l-11pct"


def texts(rows) -> list[str]:
    tokens = rows.tokens
    spans = zip(tokens.start_N[:-1], tokens.start_N[1:], strict=True)
    return [rows.tokenizer.decode(tokens.input_ids[a:b]) for a, b in spans]


def test_a_subset_is_its_rows_in_the_tokens_that_the_run_gave_them(toy_run) -> None:
    rows = rows_of(toy_run, asked())
    assert {id_.decode() for id_ in rows.tokens.ids} == kept_ids(toy_run / "subsets" / SUBSET)
    proxys = load_tokens(toy_run / "tokens.arrow")
    here = proxys.of(np.flatnonzero(np.isin(proxys.ids, rows.tokens.ids)))
    assert np.array_equal(rows.tokens.input_ids, here.input_ids)
    assert np.array_equal(rows.tokens.counted, here.counted)
    assert rows.origin["subset"]["name"] == SUBSET
    assert rows.pool_rows == len(proxys) == 148


def test_the_subset_needs_no_pool_and_another_one_can_be_named(toy_run, tmp_path) -> None:
    run = Path(shutil.copytree(toy_run, tmp_path / "run"))
    claimed = read_json(run / "run.json")
    claimed["settings"]["pool"]["paths"] = ["gone.jsonl"]
    (run / "run.json").write_text(json.dumps(claimed))
    twin = rows_of(run, asked(), "random-11pct")
    assert {id_.decode() for id_ in twin.tokens.ids} == kept_ids(run / "subsets" / "random-11pct")
    with pytest.raises(RunFolderError, match=r"no subset 'best'; there are: random-11pct, s2l-11pct"):
        rows_of(run, asked(), "best")
    with pytest.raises(DataError):
        rows_of_pool(run, asked())


def test_the_pool_is_all_of_it(toy_run, toy_pool) -> None:
    pool, proxys = rows_of_pool(toy_run, asked()), load_tokens(toy_run / "tokens.arrow")
    assert np.array_equal(pool.tokens.ids, proxys.ids)
    assert np.array_equal(pool.tokens.input_ids, proxys.input_ids)
    assert (pool.origin["read"], pool.origin["left_out"]) == (150, 2)


def test_a_file_alone_gets_a_tokenizer_of_its_own(toy_run, toy_pool) -> None:
    rows = rows_for(toy_pool, asked(vocabulary=310))
    assert len(rows) == 148
    assert rows.pool_rows is None
    assert len(rows.tokenizer) <= 310
    assert texts(rows)[0].startswith("Q: ")


def test_a_pretrained_model_reads_alpaca_and_one_of_ours_what_it_knows(toy_run, toy_pool, tmp_path) -> None:
    llama = tiny_llama(tmp_path / "llama", window=512)
    rows = rows_of(toy_run, asked(model=str(llama), max_length=512, template="auto"))
    assert rows.template == "alpaca"
    assert "### Response:" in texts(rows)[0]
    (llama / "s2l.json").write_text('{"template": "short"}')
    assert rows_of(toy_run, asked(model=str(llama), max_length=512, template="auto")).template == "short"
    assert rows_of(toy_run, asked(model=str(llama), max_length=512, template="alpaca")).template == "alpaca"
    proxy = sorted((toy_run / "proxy").glob("step-*"))[-1]
    assert rows_of(toy_run, asked(model=str(proxy), template="auto")).template == "short"


def test_rows_without_a_response_in_the_window_are_left_out_and_told(toy_run) -> None:
    told = []

    class Told:
        def __getattr__(self, name):
            from s2l.progress import SILENT

            return told.append if name == "note" else getattr(SILENT, name)

    rows = rows_of_pool(toy_run, asked(), progress=Told())
    assert len(rows) == 148
    assert "2 of 150 rows are left out: 1 empty response, 1 no response token within max_length" in told


def test_a_changed_subset_is_refused(own_run) -> None:
    path = own_run / "subsets" / SUBSET / "pool.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0].replace(b'"output": "', b'"output": "not '), *lines[1:]]))
    with pytest.raises(DataError, match="not those that were drawn"):
        rows_of(own_run, asked())
    path.write_bytes(b"".join(lines[1:]))
    with pytest.raises(DataError, match="not those that were drawn"):
        rows_of(own_run, asked())


def test_an_exact_repeat_that_was_drawn_is_no_change(toy_pool, tmp_path) -> None:
    """The second of two equal rows has an id of its own, which its file alone cannot tell."""
    repeat = json.loads(toy_pool.read_text().splitlines()[40])
    keep = tmp_path / "keep.txt"
    outcome = s2l(
        "run",
        toy_pool,
        "--budget",
        "5",
        "--proxy",
        "builtin",
        "--max-length",
        "64",
        "--width",
        "64",
        "--layers",
        "1",
        "--vocabulary",
        "300",
        "--checkpoints",
        "1",
        "--out",
        tmp_path / "one",
    )
    assert outcome.code == 0, outcome.err
    from s2l.data.rows_file import load_rows

    rows, _ = load_rows(tmp_path / "one" / "rows.parquet")
    keep.write_bytes(rows.ids[np.flatnonzero(rows.occurrence_N)[0]] + b"\n")
    outcome = s2l("select", tmp_path / "one", "--budget", "1", "--keep", keep)
    assert outcome.code == 0, outcome.err
    (drawn,) = [path.name for path in (tmp_path / "one" / "subsets").glob("*keep*")]
    found = rows_of(tmp_path / "one", asked(), drawn)
    assert len(found) == 1
    assert repeat["instruction"] in texts(found)[0]


def test_a_run_must_be_there_and_finished(own_run, tmp_path) -> None:
    with pytest.raises(RunFolderError, match="no run of s2l"):
        rows_of(tmp_path, asked())
    (own_run / "manifest.json").unlink()
    with pytest.raises(RunFolderError, match="not finished"):
        rows_of(own_run, asked())
    with pytest.raises(SettingsError, match="say which model"):
        rows_of_pool_without_model(own_run)


def rows_of_pool_without_model(run):
    (run / "manifest.json").write_text(json.dumps({"tokens": {"rows": 1}}))
    return rows_of_pool(run, asked(model=None))
