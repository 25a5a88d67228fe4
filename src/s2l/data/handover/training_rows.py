"""What a training framework must know of a subset, and the settings that all of them get."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from s2l.config import Format
from s2l.data.containers import Container
from s2l.data.subset import Subset
from s2l.data.templates import STYLES

CHATS = ("messages", "conversations")
TARGET = "YOUR-TARGET-MODEL"
# The paper's, 128 rows a batch on one device; the model, and so its memory, is not known here.
EPOCHS, LEARNING_RATE, WARMUP, BATCH_ROWS, BATCH_STEPS = 3, 2e-5, 0.03, 8, 16


@dataclass(frozen=True)
class TrainingRows:
    """Where the rows are and how they read.

    files: name in the folder → container (None: a saved dataset). parts: part of a row → its column.
    role_key, text_key: of a message. has_message_lists: a prompt and its response are lists of messages.
    max_length: tokens a row may have.
    """

    files: Mapping[str, Container | None]
    format: Format
    parts: Mapping[str, str]
    role_key: str
    text_key: str
    has_message_lists: bool
    max_length: int

    @classmethod
    def of(cls, subset: Subset, format_: Format, parts: Mapping[str, str], max_length: int) -> TrainingRows:
        """Those of a subset as written; the keys of a message are those of its first."""
        is_sharegpt = format_ in CHATS and "from" in _first_message(subset.first[parts[format_]])
        keys = ("from", "value") if is_sharegpt else ("role", "content")
        has_lists = isinstance(subset.first.get(parts.get("response", "")), list)
        return cls(subset.files, format_, parts, *keys, has_lists, max_length)

    @property
    def loader(self) -> str | None:
        """The name under which `datasets.load_dataset` reads the files; None for a saved dataset."""
        container = next(iter(self.files.values()))
        if container is None:
            return None
        return "json" if container.kind == "jsonl" else container.kind

    @property
    def is_chat(self) -> bool:
        """Whether a row is a list of messages."""
        return self.format in CHATS

    @property
    def is_question(self) -> bool:
        """Whether a row is a prompt and a response."""
        return self.format in ("instruction", "pair")


def alpaca_prompts() -> tuple[str, str]:
    """The paper's prompt with `{instruction}` and `{input}` to fill in: without an input, and with one."""
    style = STYLES["alpaca"]
    assert style.preambles is not None
    question, answer = style.heads["user"] + "{instruction}", style.heads["assistant"]
    without = style.between.join([style.preambles[0], question, answer])
    return without, style.between.join([style.preambles[1], question, style.heads["input"] + "{input}", answer])


def yaml_text(settings: Mapping[str, Any], notes: list[str]) -> str:
    """The settings as YAML under the notes as comments."""
    comments = "".join(f"# {note}\n" for note in notes)
    return comments + yaml.dump(dict(settings), Dumper=_Blocks, sort_keys=False, width=2**16)


def _first_message(messages: Any) -> Mapping[str, Any]:
    if isinstance(messages, str):
        messages = json.loads(messages)
    message = messages[0] if isinstance(messages, list) and messages else None
    return {key: value for key, value in message.items() if value is not None} if isinstance(message, dict) else {}


class _Blocks(yaml.SafeDumper):
    """Text of several lines as a block, line by line."""


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Blocks.add_representer(str, _block)
