"""Whole runs: every container, every kind of row and of proxy, and the same rows the same subset."""

import csv
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from toy_runs import FLAGS, Outcome, kept_ids, manifest, s2l, tiny_llama, toy_rows, verdicts, write_jsonl

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>\n{% endgeneration %}"
    "{% else %}{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
)
SHORT = ("--epochs", "1", "--checkpoints", "2", "--threads", "1", "--max-length", "192")


def succeeded(outcome: Outcome) -> Outcome:
    assert outcome.code == 0, outcome.err
    return outcome


def as_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def as_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def as_shuffled_json(path: Path, rows: list[dict[str, Any]]) -> Path:
    shuffled = random.Random(1).sample(rows, len(rows))
    path.write_text(json.dumps([dict(reversed(row.items())) for row in shuffled], indent=1), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "write"), [("pool.csv", as_csv), ("pool.parquet", as_parquet), ("pool.json", as_shuffled_json)]
)
def test_the_same_rows_in_another_container_or_order_give_the_same_subset(
    name: str, write: Any, toy_run: Path, tmp_path: Path
) -> None:
    pool = write(tmp_path / name, toy_rows())
    succeeded(s2l("run", pool, "--budget", "11%", *FLAGS, "--out", tmp_path / "run"))
    assert manifest(tmp_path / "run")["selection_sha256"] == manifest(toy_run)["selection_sha256"]
    verdict_by_id = {row["id"]: row for row in verdicts(toy_run / "subsets/s2l-11pct")}
    for row in verdicts(tmp_path / "run/subsets/s2l-11pct"):
        same = verdict_by_id.pop(row["id"])
        assert {**row, "file": "", "line": 0} == {**same, "file": "", "line": 0}
    assert not verdict_by_id
    assert (tmp_path / "run/subsets/s2l-11pct" / name).is_file()


def test_a_pretrained_proxy_is_trained_by_the_papers_settings_on_the_alpaca_template(
    toy_pool: Path, tmp_path: Path
) -> None:
    proxy = tiny_llama(tmp_path / "llama")
    words = ("--proxy", proxy, "--max-length", "256", "--threads", "1", "--initial-checkpoint")
    outcome = succeeded(s2l("run", toy_pool, "--budget", "11%", *words, "--out", tmp_path / "run"))
    assert "template: alpaca" in outcome.err
    assert "6 checkpoints instead of 12" in outcome.err
    found = manifest(tmp_path / "run")
    plan = found["proxy"]["plan"]
    paper = {
        "epochs": 3.0,
        "learning_rate": 2e-5,
        "batch_size": 128,
        "weight_decay": 0.0,
        "steps": 6,
        "warmup_steps": 1,
    }
    assert {name: plan[name] for name in paper} == paper
    assert found["proxy"]["start"]["architecture"] == "LlamaForCausalLM"
    assert found["signal"]["weak"], "six small steps on random weights teach nothing, and the run says so"
    recorded = sorted((tmp_path / "run/trajectories").glob("step-*"))
    assert [path.name for path in recorded] == [f"step-{t:08d}" for t in range(7)]
    drawn = json.loads(succeeded(s2l("select", tmp_path / "run", "--budget", "11%,20", "--json")).out)
    assert drawn["subsets"][0]["selection_sha256"] == found["selection_sha256"]


def test_conversations_take_the_models_chat_template(tmp_path: Path) -> None:
    pool = tmp_path / "pool.jsonl"
    write_jsonl(
        pool,
        (
            {
                "messages": [
                    {"role": "user", "content": row["instruction"]},
                    {"role": "assistant", "content": row["output"]},
                    {"role": "user", "content": "Again."},
                    {"role": "assistant", "content": row["output"]},
                ]
            }
            for row in toy_rows()[:20]
        ),
    )
    proxy = tiny_llama(tmp_path / "llama", CHATML)
    words = ("--proxy", proxy, *SHORT)
    outcome = succeeded(s2l("run", pool, "--budget", "5", *words, "--out", tmp_path / "run"))
    assert "template: the tokenizer's chat template" in outcome.err
    tokenizer = AutoTokenizer.from_pretrained(proxy)
    counted = {row["line"]: row["response_tokens"] for row in verdicts(tmp_path / "run/subsets/s2l-5")}
    answer = tokenizer(toy_rows()[0]["output"] + "<|im_end|>", add_special_tokens=False)["input_ids"]
    assert counted[1] == 2 * len(answer)

    outcome = succeeded(s2l("run", pool, "--budget", "5", *FLAGS, "--out", tmp_path / "builtin"))
    assert "template: turns" in outcome.err


def test_tokenized_rows_name_their_tokenizer(tmp_path: Path) -> None:
    proxy = tiny_llama(tmp_path / "llama")
    tokenizer = AutoTokenizer.from_pretrained(proxy)
    rows = []
    for row in toy_rows()[:20]:
        prompt, answer = (
            tokenizer(row[part], add_special_tokens=False)["input_ids"] for part in ("instruction", "output")
        )
        rows.append({"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer})
    pool = write_jsonl(tmp_path / "pool.jsonl", rows)

    outcome = s2l("run", pool, "--budget", "5", *FLAGS, "--out", tmp_path / "unnamed")
    assert outcome.code == 2
    assert "the rows are already tokenized: name the tokenizer that did it: --tokenizer NAME" in outcome.error
    for name, model in (("builtin", "builtin"), ("pretrained", str(proxy))):
        words = ("--proxy", model, "--tokenizer", proxy, "--width", "64", *SHORT)
        succeeded(s2l("run", pool, "--budget", "5", *words, "--out", tmp_path / name))
        counted = [row["response_tokens"] for row in verdicts(tmp_path / name / "subsets/s2l-5")]
        assert counted == [sum(label != -100 for label in row["labels"]) for row in rows]


def test_a_proxy_of_broken_weights_stops_the_run_and_names_a_row(toy_pool: Path, tmp_path: Path) -> None:
    proxy = tiny_llama(tmp_path / "llama")
    weights = load_file(proxy / "model.safetensors")
    weights["model.norm.weight"][0] = torch.nan
    save_file(weights, proxy / "model.safetensors", {"format": "pt"})
    outcome = s2l("run", toy_pool, "--budget", "5", "--proxy", proxy, *SHORT, "--out", tmp_path / "run")
    assert outcome.code == 7
    assert f"step 1; first seen in {toy_pool}:" in outcome.error
    assert "not a finite number" in outcome.error
    assert not (tmp_path / "run/trajectories").exists()


def test_a_run_with_one_checkpoint_and_a_run_in_bfloat16_work(toy_pool: Path, tmp_path: Path) -> None:
    words = ("--checkpoints", "1", "--epochs", "1", "--precision", "bfloat16")
    succeeded(s2l("run", toy_pool, "--budget", "11%", *FLAGS, *words, "--out", tmp_path / "run"))
    assert len(kept_ids(tmp_path / "run/subsets/s2l-11pct")) == 17


def test_another_seed_trains_and_draws_anew(toy_pool: Path, toy_run: Path, tmp_path: Path) -> None:
    succeeded(s2l("run", toy_pool, "--budget", "11%", *FLAGS, "--seed", "1", "--out", tmp_path / "run"))
    assert manifest(tmp_path / "run")["selection_sha256"] != manifest(toy_run)["selection_sha256"]
