"""The main job from Python, and its stages as functions."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch

import s2l
from s2l.config import PoolSettings, ProxySettings, SelectSettings, TokenSettings
from s2l.data.templates import choose_template
from s2l.data.tokens import segment_texts
from s2l.progress import SILENT
from s2l.types import Recorded
from toy_runs import FLAGS, files_of, kept_ids, manifest, toy_rows, write_jsonl

pytestmark = pytest.mark.filterwarnings("ignore:WEAK SIGNAL")

TOY: dict[str, Any] = {
    "proxy": "builtin",
    "max_length": 64,
    "width": 64,
    "layers": 1,
    "vocabulary": 300,
    "checkpoints": 4,
    "threads": 1,
}


@pytest.fixture(autouse=True)
def threads_as_before() -> Any:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def chosen_rows(run: Path, pool: Path) -> list[dict[str, Any]]:
    """The rows that the command line chose, from the file it wrote."""
    subset = run / "subsets/s2l-11pct/pool.jsonl"
    assert set(subset.read_bytes().splitlines()) <= set(pool.read_bytes().splitlines())
    return list(datasets.Dataset.from_json(str(subset)))


def test_select_on_a_path_gives_the_rows_that_the_command_line_chose(here: Path, toy_pool: Path, toy_run: Path) -> None:
    subset = s2l.select(str(toy_pool), budget=0.11, **TOY)
    assert list(subset) == chosen_rows(toy_run, toy_pool)

    (run,) = (here / "s2l-runs").iterdir()
    before = files_of(run)
    assert list(s2l.select(toy_pool, budget=0.11, **TOY)) == list(subset)
    assert [*(here / "s2l-runs").iterdir()] == [run]
    assert {**files_of(run), "seconds.json": ""} == {**before, "seconds.json": ""}


def test_select_on_a_dataset_gives_its_own_rows_in_its_order(here: Path, toy_pool: Path, toy_run: Path) -> None:
    rows = [{**row, "number": i} for i, row in enumerate(toy_rows())]
    subset = s2l.select(datasets.Dataset.from_list(rows), budget="11%", **TOY)
    assert [rows[i] for i in subset["number"]] == list(subset)
    assert list(subset["number"]) == sorted(subset["number"])
    assert list(subset.remove_columns("number")) == chosen_rows(toy_run, toy_pool)
    assert s2l.select(datasets.Dataset.from_list(rows), budget="11%", **TOY).to_list() == subset.to_list()
    assert len([*(here / "s2l-runs").iterdir()]) == 1
    s2l.select(datasets.Dataset.from_list(rows[1:]), budget="11%", **{**TOY, "epochs": 1, "checkpoints": 1})
    assert len([*(here / "s2l-runs").iterdir()]) == 2


def test_select_on_a_saved_folder(tmp_path: Path, toy_pool: Path, toy_run: Path) -> None:
    datasets.Dataset.from_list(toy_rows()).save_to_disk(str(tmp_path / "saved"))
    subset = s2l.select(tmp_path / "saved", budget="11%", out=tmp_path / "run", **TOY)
    assert list(subset) == chosen_rows(toy_run, toy_pool)
    again = s2l.draw(tmp_path / "run", SelectSettings(budgets=("11%", 40)))
    assert [entry["rows"] for entry in again["subsets"]] == [17, 40]


def test_a_changed_file_goes_to_a_new_folder(here: Path) -> None:
    pool = write_jsonl(here / "pool.jsonl", toy_rows()[:12])
    quick = {**TOY, "epochs": 1, "checkpoints": 1}
    assert len(s2l.select("pool.jsonl", 5, **quick)) == 5
    write_jsonl(pool, toy_rows()[:11])
    assert len(s2l.select("pool.jsonl", 5, **quick)) == 5
    assert len([*(here / "s2l-runs").iterdir()]) == 2


def test_a_recipe_can_be_given_and_is_overridden(tmp_path: Path, toy_pool: Path) -> None:
    recipe = {"select": {"method": "random", "budgets": [99]}, "proxy": {"model": "builtin", "epochs": 1}, "seed": 5}
    subset = s2l.select(toy_pool, 3, out=tmp_path / "run", recipe=recipe, **{**TOY, "checkpoints": 1})
    assert len(subset) == 3
    settings = manifest(tmp_path / "run")["settings"]
    assert (settings["select"]["method"], settings["seed"], settings["proxy"]["epochs"]) == ("random", 5, 1.0)


def test_mistakes_are_errors_of_the_standard_library_too(tmp_path: Path, toy_pool: Path) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'bugdet'"):
        s2l.select(toy_pool, 5, out=tmp_path / "run", bugdet=5)
    with pytest.raises(ValueError, match="a number with a point is a share between 0 and 1"):
        s2l.select(toy_pool, 1.5, out=tmp_path / "run", **TOY)
    with pytest.raises(ValueError, match="no such file"):
        s2l.select(tmp_path / "none.jsonl", 5, out=tmp_path / "run", **TOY)
    with pytest.raises(AttributeError, match="no attribute 'selct'"):
        _ = s2l.selct


def test_the_stages_one_by_one_choose_what_the_run_chose(tmp_path: Path, toy_pool: Path, toy_run: Path) -> None:
    proxy = ProxySettings(model="builtin", width=64, layers=1, vocabulary=300, checkpoints=4, threads=1)
    settings = TokenSettings(max_length=64)

    pool = s2l.read_pool(PoolSettings(paths=(str(toy_pool),)))
    template, _ = choose_template(pool.format, "auto", None, builtin=True)
    tokenizer = s2l.proxy_tokenizer(proxy, settings, segment_texts(pool, template), tmp_path / "tokenizer")
    tokens = s2l.tokenize(pool, tokenizer, settings, builtin=True)
    plan, checkpoints = s2l.train_proxy(
        tokens, tokenizer, proxy, tmp_path / "proxy", max_length=64, seed=0, progress=SILENT
    )
    trajectories = s2l.record(tokens, checkpoints, plan, tmp_path / "trajectories", SILENT, str)
    place = {id_: row for row, id_ in enumerate(pool.rows.ids.tolist())}
    source_N = pool.rows.source_N[[place[id_] for id_ in tokens.ids.tolist()]]
    recorded = Recorded(trajectories, source_N, pool.rows.sources, tokens.lengths)
    (selection,) = s2l.select_rows(
        pool.rows, recorded, SelectSettings(budgets=("11%",)), seed=0, excluded=tokens.excluded
    )

    assert selection.sha256 == manifest(toy_run)["selection_sha256"]
    assert {id_.decode() for id_ in selection.kept_ids} == kept_ids(toy_run / "subsets/s2l-11pct")
    assert np.isfinite(s2l.signal(trajectories, 100, seed=0).explained)


def test_importing_s2l_loads_no_torch() -> None:
    code = (
        "import sys, s2l\nassert callable(s2l.__getattr__) and s2l.__version__\n"
        "assert not {'torch', 'transformers', 'datasets', 'pyarrow', 'numpy'} & set(sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_all_that_is_offered_is_there() -> None:
    assert all(callable(getattr(s2l, name)) for name in s2l.__all__)
    assert (Path(s2l.__file__).parent / "py.typed").is_file()


def test_the_toy_flags_say_the_same_in_python() -> None:
    assert tuple(word for name, value in TOY.items() for word in (f"--{name.replace('_', '-')}", str(value))) == FLAGS


def test_what_must_not_go_unseen_is_a_warning(tmp_path: Path) -> None:
    turns = [[{"role": "user", "content": f"Say {i}."}, {"role": "assistant", "content": f"{i}"}] for i in range(40)]
    rows = [{"messages": messages, "label": i % 2 == 0} for i, messages in enumerate(turns)]
    pool = write_jsonl(tmp_path / "pool.jsonl", rows)
    with pytest.warns(UserWarning, match="preference rows: 20 of 40 have label false"):
        s2l.select(pool, 10, out=tmp_path / "run", **TOY)
