"""The forecast of a toy pool beside a real run of it; and the verb, with mistakes as `run` tells them."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from s2l.forecast import forecast as forecasting
from s2l.forecast.flops import forward, shape_of
from s2l.proxy.checkpoints import load_model
from s2l.types import Checkpoint
from toy_runs import (
    BROKEN,
    DATA,
    FLAGS,
    GOOD,
    MACHINE,
    SETTINGS,
    files_of,
    lines,
    manifest,
    s2l,
    tiny_llama,
    write_jsonl,
)

ASKED = ("--budget", "11%", "--with-random", *FLAGS)


@pytest.fixture(scope="module")
def found(toy_pool: Path) -> dict[str, Any]:
    """`s2l plan` of the run in `toy_run`."""
    outcome = s2l("plan", toy_pool, *ASKED, "--target-params", "7B,410M", "--json")
    assert outcome.code == 0, outcome.err
    told: dict[str, Any] = json.loads(outcome.out)
    return told


def test_rows_and_tokens_of_a_small_pool_are_exact(found: dict[str, Any], toy_run: Path) -> None:
    real = manifest(toy_run)
    assert (found["read"], found["excluded"]) == (150, 2)
    one = found["one_pass"]
    assert [one["rows"], one["tokens"], one["response_tokens"]] == [
        real["tokens"][name] for name in ("rows", "tokens", "response_tokens")
    ]
    assert found["truncated"] * one["rows"] == pytest.approx(real["tokens"]["truncated"])


def test_the_proxy_is_that_of_the_run(found: dict[str, Any], toy_run: Path) -> None:
    real, proxy = manifest(toy_run)["proxy"], found["proxy"]
    assert proxy["parameters"] == real["start"]["parameters"]
    assert proxy["checkpoints"] == len(real["checkpoints"])
    for name in ("steps", "batch_size", "epochs", "device", "precision", "threads"):
        assert proxy[name] == real["plan"][name]


def test_flops_are_those_of_the_runs_passes(found: dict[str, Any], toy_run: Path) -> None:
    record = manifest(toy_run)["proxy"]["checkpoints"][-1]
    path = toy_run / "proxy" / f"step-{record['step']:08d}"
    shape = shape_of(load_model(Checkpoint(record["step"], path, record["sha256"]), torch.device("cpu")))
    one = forecasting.Amount(**found["one_pass"])
    assert found["train_flops"] == pytest.approx(3 * 3 * forward(shape, one))
    assert found["score_flops"] == pytest.approx(4 * forward(shape, one))


def test_the_run_folder_is_as_large_as_was_said(found: dict[str, Any], toy_run: Path) -> None:
    parts = {
        "rows": "rows.parquet",
        "tokenizer": "tokenizer/*",
        "tokens": "tokens.arrow",
        "checkpoints": "proxy/step-*/*",
        "trajectories": "trajectories/*/*",
        "subsets": "subsets/*/*",
    }
    for part, pattern in parts.items():
        real = sum(path.stat().st_size for path in toy_run.glob(pattern) if path.name != "manifest.json")
        assert found["disk"][part] == pytest.approx(real, rel=0.25 if part == "subsets" else 0.1), part
    whole = sum(path.stat().st_size for path in toy_run.rglob("*") if path.is_file())
    assert found["disk"]["at_the_end"] == pytest.approx(whole, rel=0.25)
    assert found["disk"]["at_most"] >= found["disk"]["at_the_end"]


def test_every_stage_of_the_run_has_its_seconds(found: dict[str, Any], toy_run: Path) -> None:
    assert [stage["name"] for stage in found["stages"]] == list(manifest(toy_run)["seconds"])
    assert all(stage["seconds"] >= 0 and stage["basis"] for stage in found["stages"])
    assert found["seconds"] == pytest.approx(sum(stage["seconds"] for stage in found["stages"]))
    assert found["memory"]["peak"] >= found["memory"]["probe"] > 0


def test_targets_are_those_asked_for(found: dict[str, Any]) -> None:
    assert [cost["parameters"] for cost in found["targets"]] == [7 * 10**9, 410 * 10**6]
    assert [asked["rows"] for asked in found["budgets"]] == [17]
    assert found["targets"][0]["full"] == 6 * 7e9 * found["one_pass"]["tokens"] * 3


def test_larger_pools_are_scaled_from_a_sample(
    toy_pool: Path, found: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecasting, "SAMPLE_ROWS", 60)
    scaled = json.loads(s2l("plan", toy_pool, *ASKED, "--json").out)
    assert (scaled["read"], scaled["sampled"]) == (150, 60)
    assert scaled["one_pass"]["tokens"] == pytest.approx(found["one_pass"]["tokens"], rel=0.2)
    assert scaled["disk"]["at_the_end"] == pytest.approx(found["disk"]["at_the_end"], rel=0.2)
    assert scaled["memory"]["tokens"] > 0
    assert [cost["parameters"] for cost in scaled["targets"]] == [410_000_000, 2_700_000_000, 7_000_000_000]


def test_the_screen_tells_what_a_person_wants_to_know(toy_pool: Path) -> None:
    outcome = s2l("plan", toy_pool, *FLAGS)
    assert outcome.code == 0, outcome.err
    for word in ("150 read, 2 of them excluded", "11%", "train the proxy", "in all", "disk", "memory", "410M", "7B"):
        assert word in outcome.out
    assert "costs less than training on all rows" in " ".join(outcome.out.split())


def test_the_verb_has_help() -> None:
    outcome = s2l("plan", "--help")
    assert outcome.code == 0
    assert "--target-params" in outcome.out
    assert "--budget" in outcome.out


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = write_jsonl(tmp_path / "pool.jsonl", GOOD)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"pool: {{paths: [{pool}]}}\nproxy: {{model: builtin}}\nout: {tmp_path / 'run'}\n")
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    before = files_of(tmp_path)
    outcome = s2l("plan", recipe, *FLAGS)
    assert outcome.code == 0, outcome.err
    assert files_of(tmp_path) == before
    assert not (tmp_path / "run").exists()
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("budgets", ["1", "100%", "3,20-tokens"])
def test_a_pool_smaller_than_a_batch_has_a_forecast(budgets: str, tmp_path: Path) -> None:
    pool = write_jsonl(tmp_path / "pool.jsonl", GOOD[:3])
    outcome = s2l("plan", pool, "--budget", budgets, *FLAGS, "--epochs", "1", "--initial-checkpoint", "--json")
    assert outcome.code == 0, outcome.err
    assert "Infinity" not in outcome.out
    told = json.loads(outcome.out)
    assert told["proxy"]["steps"] == 1
    assert told["proxy"]["checkpoints"] == 2
    assert len(told["budgets"]) == len(budgets.split(","))


def test_a_local_model_is_a_proxy(toy_pool: Path, tmp_path: Path) -> None:
    model = tiny_llama(tmp_path / "llama")
    words = (
        "--proxy",
        model,
        "--max-length",
        "64",
        "--template",
        "short",
        "--batch-size",
        "16",
        "--epochs",
        "1",
        "--threads",
        "1",
    )
    outcome = s2l("plan", toy_pool, *words, "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["proxy"]["steps"] == 10


MISTAKES = [
    (("--target-params", "big"), SETTINGS, "--target-params 'big': write 7B"),
    (("--budget", "149"), SETTINGS, "ask for at most 148"),
    (("--budget", "9M-tokens"), SETTINGS, "is above the"),
    (("--method", "s3l"), SETTINGS, "no selection method 's3l'; there are: "),
    (("--device", "abacus"), SETTINGS, "no device 'abacus'"),
    (("--proxy", "nobody/nothing"), MACHINE, "the hub cannot be reached"),
]


@pytest.mark.parametrize(("words", "code", "message"), MISTAKES, ids=[words[0] + words[1] for words, *_ in MISTAKES])
def test_a_mistake_is_one_line(words: tuple[str, ...], code: int, message: str, toy_pool: Path) -> None:
    outcome = s2l("plan", toy_pool, *FLAGS, *words)
    assert outcome.code == code
    assert message in outcome.error


def test_a_broken_row_is_named(tmp_path: Path) -> None:
    pool = tmp_path / "pool.jsonl"
    pool.write_bytes(lines(GOOD) + BROKEN)
    outcome = s2l("plan", pool, *FLAGS)
    assert outcome.code == DATA
    assert "pool.jsonl:9" in outcome.error
