"""Example → rendered text, cut into segments that count in the loss and segments that do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from s2l.data.chat import RowError, chat_spans, join_inputs
from s2l.errors import SettingsError
from s2l.types import Example, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["RowError", "Segment", "choose_template", "render"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a row's text.

    counted: its tokens count in the loss. ended: the tokenizer's end token follows, counted or not alike.
    """

    text: str
    counted: bool
    ended: bool = False


@dataclass(frozen=True)
class Style:
    """A plain template: what stands before each role's text and between two turns.

    preambles: what opens a row without a system turn: without an input, and with one. None joins inputs to questions.
    """

    heads: Mapping[str, str]
    between: str
    preambles: tuple[str, str] | None = None


STYLES = {
    # Stanford's prompt, the paper's; later turns repeat its blocks, as in LLaMA-Factory
    "alpaca": Style(
        heads={
            "tools": "### Tools:\n",
            "system": "",
            "user": "### Instruction:\n",
            "input": "### Input:\n",
            "tool": "### Input:\n",
            "assistant": "### Response:",
        },
        between="\n\n",
        preambles=(
            "Below is an instruction that describes a task. Write a response that appropriately completes the request.",
            "Below is an instruction that describes a task, paired with an input that provides further context. "
            "Write a response that appropriately completes the request.",
        ),
    ),
    "short": Style(
        heads={"tools": "Tools: ", "system": "", "user": "Q: ", "tool": "Tool: ", "assistant": "A: "},
        between="\n",
    ),
    "turns": Style(
        heads={
            "tools": "Tools: ",
            "system": "System: ",
            "user": "User: ",
            "tool": "Tool: ",
            "assistant": "Assistant: ",
        },
        between="\n",
    ),
}


def choose_template(
    format: str, template: str, tokenizer: PreTrainedTokenizerFast | None, builtin: bool
) -> tuple[str, str]:
    """The template for rows of this format, and the line that tells the user.

    template: `TokenSettings.template`. Returns alpaca, short, chat, text, tokenized, or turns (`User: …`, newline,
    `Assistant: …`), which stands in for a missing chat template. SettingsError where the rows have no turns.
    """
    if format in {"text", "tokenized"}:
        if template != "auto":
            raise SettingsError(
                f"template {template} does not fit {format} rows, which have no turns: leave it at auto"
            )
        return format, f"template: none, the rows are {'plain text' if format == 'text' else 'already tokenized'}"
    if template == "auto":
        conversation = format in {"messages", "conversations"}
        template = "chat" if conversation else "short" if builtin else "alpaca"
    if template == "chat" and not (tokenizer is not None and tokenizer.chat_template and not builtin):
        why = "the built-in proxy has" if builtin else "the tokenizer has"
        return "turns", f"template: turns (`User: …`, `Assistant: …`), since {why} no chat template"
    return template, "template: the tokenizer's chat template" if template == "chat" else f"template: {template}"


def render(example: Example, template: str, tokenizer: PreTrainedTokenizerFast | None = None) -> list[Segment]:
    """The row as text; joined, the segments are the rendered text, end tokens of plain templates apart.

    The tokenizer is needed by `chat` alone. Raises RowError, with the reason, where nothing can be trained on.
    """
    _check_trained(example)
    if example.turns[0].role == "text":
        return [Segment(turn.text, turn.trained, ended=True) for turn in example.turns]
    if template == "chat":
        assert tokenizer is not None
        return _cut(*chat_spans(example, tokenizer))
    return _plain(example, STYLES[template])


def _check_trained(example: Example) -> None:
    answers = [turn for turn in example.turns if turn.role in {"assistant", "text"}]
    if not answers:
        raise RowError("no assistant turn")
    if not any(turn.trained for turn in answers):
        raise RowError("nothing marked to train on")
    if not any(turn.trained and turn.text.strip() for turn in answers):
        raise RowError("empty response")


def _plain(example: Example, style: Style) -> list[Segment]:
    turns = list(example.turns) if style.preambles else join_inputs(example.turns)
    segments: list[Segment] = []
    blocks = _opening(example, turns, style)
    for turn in turns:
        if turn.role != "assistant":
            blocks.append(style.heads[turn.role] + turn.text)
            continue
        prompt = style.between.join([*blocks, style.heads["assistant"]])
        segments += [Segment(prompt, counted=False), Segment(turn.text, turn.trained, ended=True)]
        blocks = [""]
    if len(blocks) > 1:
        segments.append(Segment(style.between.join(blocks), counted=False))
    return segments


def _opening(example: Example, turns: list[Turn], style: Style) -> list[str]:
    tools = [] if example.tools is None else [style.heads["tools"] + example.tools]
    if style.preambles is None or turns[0].role == "system":
        return tools
    with_input = any(turn.role == "input" for turn in turns)
    return [style.preambles[with_input], *tools]


def _cut(text: str, spans: list[tuple[int, int]]) -> list[Segment]:
    segments: list[Segment] = []
    at = 0
    for start, end in spans:
        segments += [Segment(text[at:start], counted=False), Segment(text[start:end], counted=True)]
        at = end
    segments = [segment for segment in [*segments, Segment(text[at:], counted=False)] if segment.text]
    if not any(segment.counted for segment in segments):
        raise RowError("empty response")
    return segments
