"""What the training frameworks get: settings that parse, name files that are there, and map the right columns."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import yaml

from s2l.config import PoolSettings
from s2l.data.handover import TrainingRows, write_handover
from s2l.data.handover.training_rows import alpaca_prompts
from s2l.data.pool import layout_of, read_pool
from s2l.data.subset import write_subset

CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
SHAREGPT = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]
TOOLS = json.dumps([{"type": "function"}])
INSTRUCTION = {"instruction": "Add.", "input": "1 {x}", "output": "2"}


def hand_over(folder: Path, *rows: dict[str, Any], name: str = "pool.jsonl", text: str | None = None) -> dict[str, str]:
    (folder / "in").mkdir()
    text = "".join(json.dumps(row) + "\n" for row in rows) if text is None else text
    (folder / "in" / name).write_text(text)
    settings = PoolSettings(paths=(str(folder / "in" / name),))
    kept_N = np.ones(len(read_pool(settings)), bool)
    subset = write_subset(read_pool(settings).rows, kept_N, folder)
    layout = layout_of(settings)[0]
    return write_handover(TrainingRows.of(subset, layout.format, layout.present(subset.columns), 512), folder)


def for_trl(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The rows as the script gives them to TRL."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(folder / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    datasets.disable_progress_bars()
    try:
        return list(runpy.run_path(str(folder / "trl_train.py"))["load"]())
    finally:
        datasets.enable_progress_bars()


def axolotl_dataset(folder: Path) -> dict[str, Any]:
    (dataset,) = yaml.safe_load((folder / "axolotl.yaml").read_text())["datasets"]
    assert (folder / dataset["path"]).exists()
    return dataset


def llamafactory_dataset(folder: Path) -> dict[str, Any]:
    settings = yaml.safe_load((folder / "llamafactory.yaml").read_text())
    info = json.loads((folder / settings["dataset_dir"] / "dataset_info.json").read_text())
    assert settings["dataset"] == ",".join(info)
    (dataset,) = info.values()
    return dataset


def test_instructions_get_the_papers_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = hand_over(tmp_path, INSTRUCTION, {"instruction": "Say hi.", "output": "hi"})
    without_input, with_input = alpaca_prompts()
    assert for_trl(tmp_path, monkeypatch) == [
        {"prompt": with_input.format(instruction="Add.", input="1 {x}"), "completion": "2"},
        {"prompt": without_input.format(instruction="Say hi."), "completion": "hi"},
    ]
    assert axolotl_dataset(tmp_path)["type"] == {
        "system_prompt": "",
        "system_format": "{system}\n\n",
        "field_instruction": "instruction",
        "field_output": "output",
        "field_input": "input",
        "format": with_input,
        "no_input_format": without_input,
    }
    dataset = llamafactory_dataset(tmp_path)
    assert dataset["columns"] == {"prompt": "instruction", "query": "input", "response": "output"}
    assert (tmp_path / "llamafactory" / dataset["file_name"]).resolve() == (tmp_path / "pool.jsonl").resolve()
    assert list(starts) == ["TRL", "axolotl", "LLaMA-Factory"]


def test_columns_of_any_name_are_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hand_over(tmp_path, {"question": "2 × 3?", "answer": 6, "topic": "products"})
    assert [row["completion"] for row in for_trl(tmp_path, monkeypatch)] == ["6"]
    assert axolotl_dataset(tmp_path)["type"]["field_output"] == "answer"
    assert llamafactory_dataset(tmp_path)["columns"] == {"prompt": "question", "response": "answer"}


def test_history_and_system_become_a_conversation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hand_over(tmp_path, INSTRUCTION | {"system": "Be short.", "history": [["a", "b"]]})
    ((said,),) = (row.values() for row in for_trl(tmp_path, monkeypatch))
    assert [(message["role"], message["content"]) for message in said] == [
        ("system", "Be short."),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "Add.\n1 {x}"),
        ("assistant", "2"),
    ]
    assert "assistant_only_loss=True" in (tmp_path / "trl_train.py").read_text()
    assert llamafactory_dataset(tmp_path)["columns"]["history"] == "history"
    assert "no history column" in (tmp_path / "axolotl.yaml").read_text()


def test_messages_keep_roles_and_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hand_over(tmp_path, {"messages": CHAT, "tools": TOOLS})
    assert for_trl(tmp_path, monkeypatch) == [{"messages": CHAT, "tools": json.loads(TOOLS)}]
    dataset = axolotl_dataset(tmp_path)
    assert dataset["type"] == "chat_template" and dataset["field_tools"] == "tools"
    assert dataset["message_property_mappings"] == {"role": "role", "content": "content"}
    assert llamafactory_dataset(tmp_path)["tags"]["assistant_tag"] == "assistant"


def test_sharegpt_roles_are_translated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hand_over(tmp_path, {"conversations": SHAREGPT})
    assert for_trl(tmp_path, monkeypatch) == [{"messages": CHAT}]
    dataset = axolotl_dataset(tmp_path)
    assert dataset["message_property_mappings"] == {"role": "from", "content": "value"}
    assert "gpt" in dataset["roles"]["assistant"] and "human" in dataset["roles"]["user"]
    assert llamafactory_dataset(tmp_path) == {
        "file_name": "../pool.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "conversations"},
        "tags": {
            "role_tag": "from",
            "content_tag": "value",
            "user_tag": "human",
            "assistant_tag": "gpt",
            "observation_tag": "observation",
            "function_tag": "function_call",
            "system_tag": "system",
        },
    }


def test_conversations_may_have_the_keys_of_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hand_over(tmp_path, {"conversations": CHAT})
    assert for_trl(tmp_path, monkeypatch) == [{"messages": CHAT}]
    assert llamafactory_dataset(tmp_path)["tags"]["role_tag"] == "role"


def test_prompts_of_messages_go_to_trl_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = hand_over(tmp_path, {"prompt": CHAT[:1], "completion": CHAT[1:]})
    assert for_trl(tmp_path, monkeypatch) == [{"prompt": CHAT[:1], "completion": CHAT[1:]}]
    assert list(starts) == ["TRL"]


def test_text_is_trained_on_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hand_over(tmp_path, {"text": "abc"})
    assert for_trl(tmp_path, monkeypatch) == [{"text": "abc"}]
    assert axolotl_dataset(tmp_path)["type"] == "completion"
    assert llamafactory_dataset(tmp_path)["columns"] == {"prompt": "text"}
    assert yaml.safe_load((tmp_path / "llamafactory.yaml").read_text())["stage"] == "pt"


@pytest.mark.parametrize(
    ("row", "labels"),
    [({"labels": [-100, 8]}, [-100, 8]), ({"loss_mask": [0, 1]}, [-100, 8]), ({}, [7, 8])],
)
def test_tokens_keep_their_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: dict, labels: list) -> None:
    starts = hand_over(tmp_path, {"input_ids": [7, 8]} | row)
    assert for_trl(tmp_path, monkeypatch) == [{"input_ids": [7, 8], "labels": labels}]
    assert "LLaMA-Factory" not in starts and not (tmp_path / "llamafactory.yaml").exists()


def test_cells_of_csv_are_read_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hand_over(tmp_path, name="pool.csv", text='instruction,input,output\nNA,,0.10\n"a,b",007,null\n')
    without_input, with_input = alpaca_prompts()
    assert for_trl(tmp_path, monkeypatch) == [
        {"prompt": without_input.format(instruction="NA"), "completion": "0.10"},
        {"prompt": with_input.format(instruction="a,b", input="007"), "completion": "null"},
    ]


@pytest.mark.parametrize(
    ("name", "named", "text"),
    [
        ("pool.tsv", "pool.csv", "prompt\toutput\na\tb\n"),
        ("pool.NDJSON", "pool.jsonl", '{"prompt": "a", "output": "b"}\n'),
    ],
)
def test_what_llamafactory_cannot_open_is_said(tmp_path: Path, name: str, named: str, text: str) -> None:
    hand_over(tmp_path, name=name, text=text)
    assert llamafactory_dataset(tmp_path)["file_name"] == f"../{named}"
    assert f"'{name}' to '{named}'" in (tmp_path / "llamafactory.yaml").read_text()


def test_hostile_column_names_break_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "a'\"\\\n{b}: #\u2028%s"
    row = {name: "q", "output": "a"}
    (tmp_path / "pool.jsonl").write_text(json.dumps(row) + "\n")
    settings = PoolSettings(paths=(str(tmp_path / "pool.jsonl"),), columns={"prompt": name})
    (tmp_path / "out").mkdir()
    subset = write_subset(read_pool(settings).rows, np.array([True]), tmp_path / "out")
    layout = layout_of(settings)[0]
    rows = TrainingRows.of(subset, layout.format, layout.present(subset.columns), 512)
    write_handover(rows, tmp_path / "out")
    assert [row["completion"] for row in for_trl(tmp_path / "out", monkeypatch)] == ["a"]
    assert axolotl_dataset(tmp_path / "out")["type"]["field_instruction"] == name
    assert llamafactory_dataset(tmp_path / "out")["columns"]["prompt"] == name
