"""What peek says of a pool is what a run makes of it, without a model."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from s2l.cli import look  # noqa: F401 - its verbs
from s2l.errors import DataError
from s2l.flags import validated
from s2l.look.peek import peek
from toy_runs import BROKEN, EMPTY, GOOD, LONG, lines, manifest, s2l, tiny_llama, toy_rows, write_jsonl

MOST = 24
"""Tokens that some of the toy pool's rows exceed."""
CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def peeked(pool: Path, *words: str | Path) -> dict[str, Any]:
    outcome = s2l("peek", pool, *words, "--json")
    assert outcome.code == 0, outcome.err
    found: dict[str, Any] = json.loads(outcome.out)
    return found


def settings(path: Path, **changes: Any) -> Any:
    return validated(
        {
            "pool": {"paths": [str(path)]},
            "tokens": {"max_length": 64},
            "proxy": {"model": "builtin", "vocabulary": 300},
            "select": {"budgets": ["3"]},
            **changes,
        }
    )


def test_the_figures_are_those_of_a_run_with_the_same_flags(toy_pool: Path, toy_run: Path) -> None:
    found = peek(settings(toy_pool))
    made = manifest(toy_run)
    assert found["tokens"]["tokens"] == made["tokens"]["tokens"]
    assert found["tokens"]["counted"] == made["tokens"]["response_tokens"]
    assert found["tokens"]["cut"] == made["tokens"]["truncated"]
    assert found["tokens"]["scorable"] == made["tokens"]["rows"]
    assert found["notices"] == made["pool"]["notices"]
    assert {s["source"]: s["rows"] for s in found["sources"]} == made["pool"]["rows_by_source"]
    assert [{k: why[k] for k in ("reason", "rows", "first")} for why in found["excluded"]] == made["pool"]["excluded"]


def test_a_row_is_shown_as_its_pieces_and_what_counts_in_it(toy_pool: Path) -> None:
    (shown,) = peek(settings(toy_pool), row="pool.jsonl:1")["examples"]
    assert [(piece["text"], piece["counted"]) for piece in shown["pieces"]] == [
        ("Q: Add 0 and 0.\nA: ", False),
        ("0 + 0 = 0<|end|>", True),
    ]
    assert (shown["tokens"], shown["kept"]) == (sum(p["tokens"] for p in shown["pieces"]),) * 2
    assert shown["counted"] == shown["pieces"][1]["tokens"]
    assert peek(settings(toy_pool), row=shown["id"][:8])["examples"] == [shown]


def test_what_is_cut_off_is_shown_as_such(toy_pool: Path) -> None:
    (whole,) = peek(settings(toy_pool), row="pool.jsonl:1")["examples"]
    most = whole["tokens"] - 3
    (shown,) = peek(settings(toy_pool, tokens={"max_length": most}), row="pool.jsonl:1")["examples"]
    assert (shown["kept"], shown["tokens"]) == (most, most + 3)
    assert [piece["cut_off"] for piece in shown["pieces"]] == [False, False, True]
    assert shown["counted"] == whole["counted"] - 3 == shown["pieces"][1]["tokens"]
    assert "".join(piece["text"] for piece in shown["pieces"]) == "Q: Add 0 and 0.\nA: 0 + 0 = 0<|end|>"


def test_rows_by_chance_the_first_cut_and_one_of_each_exclusion_are_shown(toy_pool: Path) -> None:
    found = peek(settings(toy_pool, tokens={"max_length": MOST}), rows=4)
    whys = [example["why"] for example in found["examples"]]
    assert whys.count("by chance") in {3, 4}
    assert whys.count("the first that is cut") == 1
    reasons = {example["place"].rpartition(":")[2]: example["reason"] for example in found["examples"]}
    assert reasons[str(EMPTY + 1)] == "empty response"
    assert reasons[str(LONG + 1)] == "no response token within max_length"
    fewer = peek(settings(toy_pool, tokens={"max_length": MOST}), rows=0)
    assert {example["why"] for example in fewer["examples"]} == {"the first that is cut", "excluded"}
    empty = next(example for example in found["examples"] if example["reason"] == "empty response")
    assert [piece["text"] for piece in empty["pieces"]] == [f"user: {toy_rows()[EMPTY]['instruction']}", "assistant: "]


def test_malformed_rows_do_not_stop_it_and_are_told(tmp_path: Path) -> None:
    pool = tmp_path / "pool.jsonl"
    pool.write_bytes(lines(GOOD) + BROKEN)
    found = peek(settings(pool))
    assert found["would_stop_a_run"]
    assert found["excluded"] == [{"reason": "malformed", "rows": 1, "of": 9, "first": f"{pool}:9"}]
    assert "near '" in found["examples"][-1]["reason"]
    assert not peek(settings(pool, pool={"paths": [str(pool)], "bad_rows": "exclude"}))["would_stop_a_run"]
    silent = peek(settings(pool), examples=False)
    assert "xxx" not in json.dumps(silent)
    assert {example["pieces"] for example in silent["examples"]} == {None}


def test_an_error_quotes_no_row_where_no_text_may_be_told(tmp_path: Path) -> None:
    pool = tmp_path / "pool.jsonl"
    pool.write_bytes(b'{"secret": \n')
    with pytest.raises(DataError, match="secret"):
        peek(settings(pool))
    with pytest.raises(DataError) as error:
        peek(settings(pool), examples=False)
    assert "secret" not in str(error.value)


def test_a_large_pool_is_sampled_unless_all_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s2l.look.reading.ROWS", 50)
    rows = [{"instruction": f"Add {i}.", "output": f"{i}"} for i in range(55)]
    pool = write_jsonl(tmp_path / "pool.jsonl", [*rows, {"instruction": "a", "output": ""}])
    found = peek(settings(pool))
    assert (found["rows"], found["tokens"]["looked_at"]) == (56, 50)
    assert peek(settings(pool), row="pool.jsonl:56")["examples"][0]["reason"] is not None
    assert peek(settings(pool), every=True)["tokens"]["looked_at"] == 56


def test_a_named_tokenizer_with_its_chat_template_is_used_and_no_weights_are_read(
    toy_pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    llama = tiny_llama(tmp_path / "llama", CHAT)
    (tmp_path / "llama" / "model.safetensors").unlink()
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", None)
    chat = [[{"role": "user", "content": f"Add {i}."}, {"role": "assistant", "content": f"{i}"}] for i in range(9)]
    pool = write_jsonl(tmp_path / "chat.jsonl", [{"messages": messages} for messages in chat])
    found = peeked(pool, "--proxy", llama, "--row", "chat.jsonl:2")
    assert found["template"] == "chat"
    assert [(piece["text"], piece["counted"]) for piece in found["examples"][0]["pieces"]] == [
        ("<|user|>Add 1.<|end|><|assistant|>", False),
        ("1<|end|>", True),
    ]
    assert peeked(toy_pool, "--proxy", llama)["template"] == "alpaca"
    assert peeked(toy_pool, "--tokenizer", llama)["template"] == "short"
    assert "a built-in" not in peeked(toy_pool, "--tokenizer", llama)["tokenizer"]


def test_rows_of_text_and_of_tokens_have_no_template(tmp_path: Path) -> None:
    pool = write_jsonl(tmp_path / "text.jsonl", [{"text": f"a text of number {i}"} for i in range(9)])
    found = peeked(pool, "--row", "text.jsonl:1")
    assert found["template"] == "none, the rows are plain text"
    first, rest = found["examples"][0]["pieces"]
    assert (first["tokens"], first["counted"], rest["counted"]) == (1, False, True)
    llama = tiny_llama(tmp_path / "llama")
    ids = write_jsonl(tmp_path / "ids.jsonl", [{"input_ids": [5, 6, 7, i + 9]} for i in range(9)])
    assert peeked(ids, "--tokenizer", llama)["template"] == "none, the rows are already tokenized"
    assert "name the tokenizer that did it: --tokenizer NAME" in s2l("peek", ids).error


def test_a_proxy_that_is_not_to_be_had_is_one_line(toy_pool: Path) -> None:
    assert "the hub cannot be reached" in s2l("peek", toy_pool, "--proxy", "nobody/nothing").error
    assert "no such folder" in s2l("peek", toy_pool, "--proxy", "./nowhere").error


def test_a_recipe_and_a_manifest_name_the_pool_too(toy_pool: Path, toy_run: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"pool: {{paths: [{toy_pool}]}}\ntokens: {{max_length: 64}}\nout: run\n")
    assert peeked(recipe)["max_length"] == 64
    assert peeked(toy_run / "manifest.json")["tokens"]["tokens"] == manifest(toy_run)["tokens"]["tokens"]
    recipe.write_text("pool: {paths: [a.jsonl]}\nproxy: [1]\n")
    assert "must hold settings by name" in s2l("peek", recipe).error
