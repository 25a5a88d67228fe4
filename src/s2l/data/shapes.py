"""From a row as stored to an `Example`: one function per shape, and what makes a row malformed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from s2l.data.formats import Layout, listed
from s2l.errors import shown
from s2l.types import Example, Role, Turn

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "function_response": "tool",
}
CALLS = ("tool_calls", "function_call")
KEYS_READ = frozenset({"role", "from", "content", "value", "weight", "train", "training", *CALLS})
NOT_COUNTED = -100
LARGEST_TOKEN = 2**31 - 1
DEEPEST = 100


class Malformed(ValueError):
    """Why a row cannot be read, on one line, the value included."""


@dataclass
class Tally:
    """What a person should know of how rows were read. numbers: read as text. ignored: keys of messages."""

    numbers: int = 0
    ignored: dict[str, None] = field(default_factory=dict)


def to_example(row: Mapping[str, Any], layout: Layout, tally: Tally) -> Example:
    """The row in normal form. Raises Malformed."""
    if all(row.get(column) is None for column in layout.required_columns):
        has = [column for column, value in row.items() if value is not None]
        raise Malformed(f"the row has no {' or '.join(map(shown, layout.required_columns))}; it has: {listed(has)}")
    source = _source(row.get(layout.source_column), layout.source_column)
    if layout.format == "tokenized":
        input_ids, labels = _tokenized(row, layout)
        return Example(input_ids=input_ids, labels=labels, source=source)
    if layout.format == "text":
        return Example((Turn("text", _text(layout.cell(row, "text"), "text", tally), True),), source=source)
    if layout.format in ("instruction", "pair"):
        turns = _question_and_answer(row, layout, tally)
    else:
        turns = _messages(layout.cell(row, layout.format), layout.format, tally)
    turns = _with_system(turns, _text(layout.cell(row, "system"), "system", tally))
    return Example(tuple(turns), _tools(layout.cell(row, "tools")), source=source)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and without nulls, so that Arrow's filled-in keys change nothing."""
    return json.dumps(_without_nulls(value), ensure_ascii=False, sort_keys=True, default=str)


def _question_and_answer(row: Mapping[str, Any], layout: Layout, tally: Tally) -> list[Turn]:
    turns = []
    for pair in _list(layout.cell(row, "history"), "history"):
        if not isinstance(pair, list) or len(pair) != 2:
            raise Malformed(f"history wants pairs [user, assistant]: {shown(pair)}")
        turns.append(Turn("user", _text(pair[0], "history", tally)))
        turns.append(Turn("assistant", _text(pair[1], "history", tally), True))
    prompt, response = layout.cell(row, "prompt"), layout.cell(row, "response")
    if isinstance(prompt, list):
        turns += [Turn(turn.role, turn.text) for turn in _messages(prompt, "prompt", tally)]
    else:
        turns.append(Turn("user", _text(prompt, "prompt", tally)))
    if input_ := _text(layout.cell(row, "input"), "input", tally):
        turns.append(Turn("input", input_))
    if isinstance(response, list):
        return turns + _messages(response, "response", tally)
    return [*turns, Turn("assistant", _text(response, "response", tally), True)]


def _messages(value: Any, name: str, tally: Tally) -> list[Turn]:
    return [_turn(message, name, tally) for message in _list(value, name)]


def _turn(message: Any, name: str, tally: Tally) -> Turn:
    if not isinstance(message, dict):
        raise Malformed(f"a message of {name} is no object: {shown(message)}")
    said = message.get("role") if message.get("role") is not None else message.get("from")
    role = ROLES.get(said) if isinstance(said, str) else None
    if role is None:
        raise Malformed(f"unknown role {shown(said)}; wanted {', '.join(ROLES)}")
    for key, value in message.items():
        if key not in KEYS_READ and value not in (None, "", []):
            tally.ignored[key] = None
    content = message.get("content") if message.get("content") is not None else message.get("value")
    text = _content(content, tally)
    for key in CALLS:
        if calls := message.get(key):
            text += ("\n" if text else "") + canonical_json(calls)
    return Turn(role, text, role == "assistant" and _is_trained(message))


def _content(content: Any, tally: Tally) -> str:
    if not isinstance(content, list):
        return _text(content, "content", tally)
    texts = []
    for part in content:
        if isinstance(part, dict) and part.get("type", "text") == "text":
            texts.append(_text(part.get("text"), "text", tally))
        elif isinstance(part, str):
            texts.append(part)
        else:
            kind = part.get("type") if isinstance(part, dict) else part
            raise Malformed(f"a part of a message that is no text: {shown(kind)}")
    return "".join(texts)


def _is_trained(message: Mapping[str, Any]) -> bool:
    trained = True
    for key in ("weight", "train", "training"):
        if (value := message.get(key)) is not None:
            if value not in (0, 1):
                raise Malformed(f"{key} of a message is {shown(value)}; wanted 0 or 1, true or false")
            trained = trained and bool(value)
    return trained


def _with_system(turns: list[Turn], system: str) -> list[Turn]:
    first = turns[0] if turns and turns[0].role == "system" else None
    if not system or (first and first.text == system):
        return turns
    if first:
        raise Malformed(f"a system column and another system message: {shown(system)} and {shown(first.text)}")
    return [Turn("system", system), *turns]


def _tools(value: Any) -> str | None:
    tools = _list(value, "tools")
    return canonical_json(tools) if tools else None


def _tokenized(row: Mapping[str, Any], layout: Layout) -> tuple[tuple[int, ...], tuple[int, ...]]:
    input_ids = _integers(layout.cell(row, "input_ids"), "input_ids", 0)
    if "labels" in layout.columns:
        labels = _integers(layout.cell(row, "labels"), "labels", NOT_COUNTED)
    elif "mask" in layout.columns:
        labels = _labels(input_ids, _list(layout.cell(row, "mask"), "mask"))
    elif row.get("labels") is not None:
        raise Malformed("labels, which the first rows do not have; say --columns labels=labels")
    else:
        labels = (NOT_COUNTED, *input_ids[1:])[: len(input_ids)]
    if len(labels) != len(input_ids):
        raise Malformed(f"{len(input_ids)} input_ids but {len(labels)} labels")
    padding = _list(row["attention_mask"], "attention_mask") if row.get("attention_mask") is not None else None
    if padding is not None and len(padding) == len(input_ids) and 0 in padding:
        input_ids, labels = (
            tuple(value for value, real in zip(values, padding, strict=True) if real) for values in (input_ids, labels)
        )
    for token, label in zip(input_ids, labels, strict=True):
        if label not in (token, NOT_COUNTED):
            raise Malformed(f"label {label} is neither {NOT_COUNTED} nor the token {token} in its place")
    return input_ids, labels


def _labels(input_ids: tuple[int, ...], mask: Sequence[Any]) -> tuple[int, ...]:
    if len(mask) != len(input_ids):
        raise Malformed(f"{len(input_ids)} input_ids but {len(mask)} values in the mask")
    if wrong := [value for value in mask if value not in (0, 1)]:
        raise Malformed(f"a mask holds 0 and 1: {shown(wrong[0])}")
    return tuple(token if counts else NOT_COUNTED for token, counts in zip(input_ids, mask, strict=True))


def _integers(value: Any, name: str, least: int) -> tuple[int, ...]:
    numbers = _list(value, name)
    for number in numbers:
        if type(number) is not int or not least <= number <= LARGEST_TOKEN:
            raise Malformed(f"{name} holds something that is no token id: {shown(number)}")
    return tuple(numbers)


def _source(value: Any, column: str) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str | int):
        return str(value)
    raise Malformed(f"column {shown(column)} is no name of a source: {shown(value)}; name another by --source-column")


def _text(value: Any, name: str, tally: Tally) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if type(value) is int or (isinstance(value, float) and math.isfinite(value)):
        tally.numbers += 1
        return json.dumps(value)
    raise Malformed(f"{name} is no text: {shown(value)}")


def _list(value: Any, name: str) -> Sequence[Any]:
    if isinstance(value, str) and value:
        value = _parsed(value, name)
    if value is None or value == "":
        return []
    if not isinstance(value, list):
        raise Malformed(f"{name} is no list: {shown(value)}")
    return value


def _parsed(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Malformed(f"{name} is neither a list nor the JSON of one: {shown(text)}") from None


def _without_nulls(value: Any, depth: int = 0) -> Any:
    if depth > DEEPEST:
        raise Malformed(f"JSON nested more than {DEEPEST} deep")
    if isinstance(value, dict):
        return {str(key): _without_nulls(item, depth + 1) for key, item in value.items() if item is not None}
    return [_without_nulls(item, depth + 1) for item in value] if isinstance(value, list) else value
