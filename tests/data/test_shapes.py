"""Every shape of row becomes the same few turns, and what fits none is malformed with a reason."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2l.config import PoolSettings
from s2l.data.formats import recognise
from s2l.data.shapes import Malformed, Tally, canonical_json, to_example
from s2l.types import Example


def example(row: dict[str, Any], tally: Tally | None = None, **settings: Any) -> Example:
    layout = recognise(list(row), PoolSettings(paths=("p",), **settings))
    return to_example(row, layout, tally or Tally())


def said(row: dict[str, Any], **settings: Any) -> list[str]:
    """The turns as `role: text`, a trained one with a star."""
    return [f"{turn.role}{'*' * turn.trained}: {turn.text}" for turn in example(row, **settings).turns]


def test_an_alpaca_row_has_history_input_and_system() -> None:
    row = {
        "instruction": "Add.",
        "input": "1, 2",
        "output": "3",
        "system": "Be brief.",
        "history": [["Hi", "Hello"], ["1?", "1"]],
    }
    assert said(row) == [
        "system: Be brief.",
        "user: Hi",
        "assistant*: Hello",
        "user: 1?",
        "assistant*: 1",
        "user: Add.",
        "input: 1, 2",
        "assistant*: 3",
    ]


def test_missing_null_and_empty_optional_parts_are_the_same_row() -> None:
    rows: list[dict[str, Any]] = [
        {"instruction": "a", "output": "b"},
        {"instruction": "a", "output": "b", "input": None, "system": None, "history": None, "source": None},
        {"instruction": "a", "output": "b", "input": "", "system": "", "history": "", "source": ""},
        {"instruction": "a", "output": "b", "history": []},
    ]
    assert {example(row).to_content() for row in rows} == {example(rows[0]).to_content()}


def test_pairs_keep_empty_sides_and_read_numbers_as_text() -> None:
    assert said({"question": "1+1?", "answer": None}) == ["user: 1+1?", "assistant*: "]
    assert said({"question": None, "answer": "2"}) == ["user: ", "assistant*: 2"]
    tally = Tally()
    assert example({"question": 1, "answer": 2.5}, tally).turns[1].text == "2.5"
    assert tally.numbers == 2


def test_prompt_and_completion_may_be_messages_and_only_the_completion_is_trained() -> None:
    row = {
        "prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        "completion": [{"role": "assistant", "content": "c"}],
    }
    assert said(row) == ["user: a", "assistant: b", "assistant*: c"]


def test_messages_have_roles_parts_tool_calls_and_weights() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}, "index": None}
    row = {
        "messages": [
            {"role": "developer", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": "wrong", "weight": 0},
            {"role": "assistant", "content": "wrong", "train": False},
            {"role": "assistant", "content": "wrong", "training": False},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "9", "tool_call_id": "1"},
            {"role": "model", "content": "right", "weight": 1, "tool_calls": None},
        ],
        "tools": [{"type": "function", "name": "f", "x": None}],
    }
    tally = Tally()
    read = example(row, tally)
    assert said(row) == [
        "system: s",
        "user: ab",
        "assistant: wrong",
        "assistant: wrong",
        "assistant: wrong",
        'assistant*: [{"function": {"arguments": "{\\"x\\": 1}", "name": "f"}, "id": "1", "type": "function"}]',
        "tool: 9",
        "assistant*: right",
    ]
    assert read.tools == '[{"name": "f", "type": "function"}]'
    assert list(tally.ignored) == ["tool_call_id"]


def test_sharegpt_conversations_have_tool_roles_and_a_system_column() -> None:
    turns = [
        {"from": "human", "value": "a"},
        {"from": "function_call", "value": "f()"},
        {"from": "observation", "value": "1"},
        {"from": "gpt", "value": "b"},
        {"role": "assistant", "content": "c"},
    ]
    row = {"conversations": turns, "system": "s", "tools": '[{"b": 1, "a": 2}]'}
    assert said(row) == ["system: s", "user: a", "assistant*: f()", "tool: 1", "assistant*: b", "assistant*: c"]
    assert example(row).tools == '[{"a": 2, "b": 1}]'
    assert said({**row, "conversations": [{"from": "system", "value": "s"}]}) == ["system: s"]


def test_lists_may_be_json_text_as_in_csv() -> None:
    assert said({"messages": '[{"role": "user", "content": "a"}]'}) == ["user: a"]
    assert said({"instruction": "a", "output": "b", "history": '[["c", "d"]]'})[:2] == ["user: c", "assistant*: d"]


def test_a_conversation_without_an_answer_is_kept() -> None:
    assert said({"messages": []}) == []
    assert said({"messages": [{"role": "user", "content": "a"}]}) == ["user: a"]


def test_text_is_all_trained() -> None:
    assert said({"text": "once"}) == ["text*: once"]


@pytest.mark.parametrize(
    ("row", "labels"),
    [
        ({"input_ids": [5, 6, 7]}, (-100, 6, 7)),
        ({"input_ids": [5, 6, 7], "labels": [-100, -100, 7]}, (-100, -100, 7)),
        ({"input_ids": [5, 6, 7], "completion_mask": [0, 1, 1]}, (-100, 6, 7)),
        ({"input_ids": [5, 6, 7], "assistant_masks": [False, True, False]}, (-100, 6, -100)),
        ({"input_ids": [5, 6, 7], "labels": [5, 6, 7], "loss_mask": [0, 0, 1]}, (5, 6, 7)),
        ({"input_ids": "[5, 6]"}, (-100, 6)),
        ({"input_ids": []}, ()),
    ],
)
def test_tokenized_rows_say_which_tokens_count(row: dict[str, Any], labels: tuple[int, ...]) -> None:
    read = example(row)
    assert read.labels == labels
    assert read.input_ids is not None and len(read.input_ids) == len(labels)


def test_a_source_may_be_a_number_or_another_column() -> None:
    assert example({"text": "a", "source": 7}).source == "7"
    assert example({"text": "a", "source": "x", "task": "y"}, source_column="task").source == "y"


MESSAGE = {"role": "user", "content": "a"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": None, "response": None, "id": 3}, "the row has no 'prompt' or 'response'; it has: id"),
        ({"prompt": ["a"], "response": "b"}, "a message of prompt is no object: 'a'"),
        ({"prompt": True, "response": "b"}, "prompt is no text: 'True'"),
        ({"prompt": {"a": 1}, "response": "b"}, "prompt is no text: '{'a': 1}'"),
        ({"prompt": "a", "response": float("nan")}, "response is no text: 'nan'"),
        ({"prompt": "a", "response": "b", "history": [["c"]]}, "history wants pairs [user, assistant]: '['c']'"),
        ({"prompt": "a", "response": "b", "source": ["x"]}, "column 'source' is no name of a source: '['x']'; name"),
        ({"messages": "hello"}, "messages is neither a list nor the JSON of one: 'hello'"),
        ({"messages": {"role": "user"}}, "messages is no list: '{'role': 'user'}'"),
        ({"messages": [{"role": "narrator", "content": "a"}]}, "unknown role 'narrator'; wanted system, developer"),
        ({"messages": [{"content": "a"}]}, "unknown role 'None'; wanted system"),
        ({"messages": [{"role": ["user"], "content": "a"}]}, "unknown role '['user']'; wanted system"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
            "a part of a message that is no text: 'image_url'",
        ),
        (
            {"messages": [{**MESSAGE, "role": "assistant", "weight": 0.5}]},
            "weight of a message is '0.5'; wanted 0 or 1",
        ),
        (
            {"messages": [{"role": "system", "content": "a"}], "system": "b"},
            "a system column and another system message",
        ),
        ({"messages": [MESSAGE], "tools": "{broken"}, "tools is neither a list nor the JSON of one: '{broken'"),
        ({"text": b"bytes"}, "text is no text: 'b'bytes''"),
        ({"input_ids": [1, "x"]}, "input_ids holds something that is no token id: 'x'"),
        ({"input_ids": [1, True]}, "input_ids holds something that is no token id: 'True'"),
        ({"input_ids": [1, -2]}, "input_ids holds something that is no token id: '-2'"),
        ({"input_ids": [1, 2**31]}, "input_ids holds something that is no token id: '2147483648'"),
        ({"input_ids": [1, 2], "labels": [1]}, "2 input_ids but 1 labels"),
        ({"input_ids": [1, 2], "labels": [1, 3]}, "label 3 is neither -100 nor the token 2 in its place"),
        ({"input_ids": [1, 2], "loss_mask": [1]}, "2 input_ids but 1 values in the mask"),
        ({"input_ids": [1, 2], "loss_mask": [1, 2]}, "a mask holds 0 and 1: '2'"),
    ],
)
def test_a_malformed_row_says_why(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(Malformed) as error:
        example(row)
    assert str(error.value).startswith(reason)


def test_labels_that_come_late_are_not_overlooked() -> None:
    layout = recognise(["input_ids"], PoolSettings(paths=("p",)))
    with pytest.raises(Malformed, match="labels, which the first rows do not have; say --columns labels=labels"):
        to_example({"input_ids": [1, 2], "labels": [-100, 2]}, layout, Tally())


ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates too: JSON can hold them


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT, st.none() | st.text(min_size=1))
def test_content_holds_the_whole_row(prompt: str, input_: str, response: str, source: str | None) -> None:
    read = example({"instruction": prompt, "input": input_, "output": response, "source": source})
    assert Example.from_content(read.to_content()) == read


def test_canonical_json_knows_neither_key_order_nor_nulls() -> None:
    assert canonical_json([{"b": {"d": None, "c": "é"}, "a": [None]}]) == '[{"a": [null], "b": {"c": "é"}}]'
