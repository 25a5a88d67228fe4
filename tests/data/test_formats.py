"""Columns tell the shape of rows, or an error lists what would settle it."""

from __future__ import annotations

import pytest

from s2l.config import Format, PoolSettings
from s2l.data.formats import Layout, listed, recognise
from s2l.errors import DataError, SettingsError


def recognised(columns: list[str], format_: Format = "auto", **given: str) -> Layout:
    return recognise(columns, PoolSettings(paths=("p.jsonl",), format=format_, columns=given), "p.jsonl")


@pytest.mark.parametrize(
    ("columns", "wanted"),
    [
        ("instruction input output source", "instruction prompt=instruction response=output input=input"),
        ("instruction response", "instruction prompt=instruction response=response"),
        (
            "instruction input output history",
            "instruction prompt=instruction response=output input=input history=history",
        ),
        ("input output", "pair prompt=input response=output"),
        ("question answer id", "pair prompt=question response=answer"),
        ("problem solution system", "pair prompt=problem response=solution system=system"),
        ("messages tools", "messages messages=messages tools=tools"),
        ("prompt messages", "messages messages=messages"),
        ("id conversations", "conversations conversations=conversations"),
        ("text", "text text=text"),
        ("input_ids labels", "tokenized input_ids=input_ids labels=labels"),
        ("input_ids attention_mask loss_mask", "tokenized input_ids=input_ids mask=loss_mask"),
        ("input_ids", "tokenized input_ids=input_ids"),
    ],
)
def test_columns_tell_the_shape(columns: str, wanted: str) -> None:
    layout = recognised(columns.split())
    parts = [f"{part}={column}" for part, column in layout.present(columns.split()).items()]
    assert " ".join([layout.format, *parts]) == wanted


def test_the_user_settles_what_is_ambiguous() -> None:
    columns = ["instruction", "question", "answer", "output", "text", "ctx"]
    assert recognised(columns, "text").format == "text"
    layout = recognised(columns, prompt="question", response="answer")
    assert (layout.format, layout.required_columns) == ("pair", ("question", "answer"))
    layout = recognised(columns, prompt="question", response="answer", input="ctx")
    assert (layout.format, layout.columns["input"]) == ("instruction", "ctx")
    assert recognised(columns, text="ctx").required_columns == ("ctx",)
    assert recognised(["messages", "text"], messages="messages").format == "messages"
    assert recognised(["prompt", "chosen", "rejected"], prompt="prompt", response="chosen").format == "pair"
    assert recognised(["chosen", "rejected"], "messages", messages="chosen").required_columns == ("chosen",)
    assert recognised(["input_ids", "labels", "m"], mask="m").columns == {"input_ids": "input_ids", "mask": "m"}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            "a b",
            "p.jsonl: no known shape in the columns a, b; wanted one of instruction, prompt, question, problem, query, "
            "input with one of output, response, completion, answer, solution; or messages, conversations, text, "
            "input_ids; or --columns prompt=…,response=…",
        ),
        (
            "messages text problem solution",
            "p.jsonl: the rows fit several formats: messages, text, pair; choose one with --format",
        ),
        (
            "prompt question response answer",
            "p.jsonl: several columns could be the prompt: prompt or question; response: response or answer; "
            "settle it, for example --columns prompt=prompt,response=response",
        ),
        (
            "question output answer",
            "p.jsonl: several columns could be the response: output or answer; "
            "settle it, for example --columns prompt=question,response=output",
        ),
        (
            "prompt chosen rejected",
            "p.jsonl: preference rows (chosen, rejected), not rows to fine-tune on; to train on one side say "
            "--columns prompt=prompt,response=chosen, or if it holds messages --columns messages=chosen",
        ),
        (
            "input_ids loss_mask completion_mask",
            "p.jsonl: several masks: completion_mask, loss_mask; choose one: --columns mask=completion_mask",
        ),
    ],
)
def test_what_is_ambiguous_lists_the_candidates_and_the_flag(columns: str, message: str) -> None:
    with pytest.raises(DataError) as error:
        recognised(columns.split())
    assert str(error.value) == message


def test_a_named_column_that_is_not_there_lists_those_that_are() -> None:
    with pytest.raises(DataError) as error:
        recognised(["question", "answer"], prompt="questoin")
    assert str(error.value) == (
        "p.jsonl: --columns prompt=questoin: no row has a column 'questoin' (did you mean 'question'?); "
        "there are: question, answer"
    )
    with pytest.raises(DataError, match="no column for the text; there are: question, answer; name it: --columns text"):
        recognised(["question", "answer"], "text")


def test_a_part_that_is_none_lists_those_that_are() -> None:
    with pytest.raises(SettingsError, match="--columns 'promt': no such part of a row; there are: prompt, response"):
        recognised(["question", "answer"], promt="question")
    with pytest.raises(SettingsError, match="--columns input: format text has the parts text"):
        recognised(["text", "a"], "text", input="a")
    with pytest.raises(SettingsError, match="give one of them"):
        recognised(["input_ids", "a", "b"], labels="a", mask="b")


def test_a_person_reads_which_columns_are_read_and_which_are_not() -> None:
    columns = ["id", "question", "answer", "source", "\x1b[31m"]
    assert recognised(columns).describe(columns) == (
        "format: pair (prompt=question, response=answer), source column: source; columns not read: id, \\x1b[31m"
    )


def test_long_lists_of_names_are_cut() -> None:
    assert listed([f"c{i}" for i in range(25)]).endswith("c18, c19 and 5 more")
