"""Conversations through a tokenizer's own chat template: the text, and where in it the assistant's words stand."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from s2l.errors import DataError, SettingsError, shown
from s2l.types import Example, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Span = tuple[int, int]
GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
FIXED_DATE = "{%- macro strftime_now(format) -%}26 Jul 2024{%- endmacro -%}"


class RowError(DataError):
    """This row has no loss under this tokenizer; the message is the reason. Other rows may."""


def join_inputs(turns: Sequence[Turn]) -> list[Turn]:
    """The turns with every `input` joined to the user's turn before it, by a newline."""
    joined: list[Turn] = []
    for turn in turns:
        if turn.role == "input" and joined and joined[-1].role == "user":
            joined[-1] = Turn("user", f"{joined[-1].text}\n{turn.text}")
        else:
            joined.append(Turn("user", turn.text) if turn.role == "input" else turn)
    return joined


def chat_spans(example: Example, tokenizer: PreTrainedTokenizerFast) -> tuple[str, list[Span]]:
    """The rendered conversation, and the characters of it that count: each trained answer with its end token.

    They come from the template's `{% generation %}` marks if it has them, else from the differences of prefixes: an
    answer is what the template adds to the generation prompt. White space after the end token does not count.
    Raises RowError where the template refuses the row or writes earlier turns differently once later ones follow;
    DataError where `{% generation %}` marks nothing.
    """
    conversation = _Conversation(example, tokenizer)
    text, marks = conversation.render(len(conversation.turns))
    if conversation.has_marks:
        spans = _marked(conversation.turns, marks)
    else:
        spans = [conversation.answer(i, text) for i, turn in enumerate(conversation.turns) if turn.trained]
    spans = [(start, start + len(text[start:end].rstrip())) for start, end in spans]
    if conversation.has_marks and all(start == end for start, end in spans):
        raise DataError(
            "the chat template's {% generation %} marks none of the row's answers; "
            "mend the template, or use another one: --template alpaca"
        )
    return text, spans


class _Conversation:
    """One row's turns and the template that renders any number of them."""

    def __init__(self, example: Example, tokenizer: PreTrainedTokenizerFast) -> None:
        self.turns = join_inputs(example.turns)
        self.tools = _tools(example.tools)
        template = _template_of(tokenizer, self.tools)
        self.has_marks = GENERATION.search(template) is not None
        # Some templates write today's date; the same rows must give the same tokens tomorrow.
        self.template = FIXED_DATE + template if "strftime_now" in template else template
        self.special: dict[str, Any] = dict(tokenizer.special_tokens_map)
        self.control_tokens = _control_tokens(tokenizer)

    def render(self, n_turns: int, generation_prompt: bool = False) -> tuple[str, list[Span]]:
        """The first `n_turns` turns, and what `{% generation %}` marks in them."""
        from transformers.utils.chat_template_utils import render_jinja_template

        messages = [{"role": turn.role, "content": turn.text} for turn in self.turns[:n_turns]]
        try:
            rendered: Any = render_jinja_template(
                [messages],
                tools=self.tools,
                chat_template=self.template,
                return_assistant_tokens_mask=self.has_marks,
                add_generation_prompt=generation_prompt,
                **self.special,
            )
        except Exception as error:  # a template is a program from the hub: it may raise anything
            raise RowError(f"chat template: {shown(str(error))}") from None
        texts, marks = rendered
        return texts[0], marks[0] if marks else []

    def answer(self, turn: int, text: str) -> Span:
        """Where turn `turn` stands in the whole rendering `text`, its end token included."""
        prompt, _ = self.render(turn, generation_prompt=True)
        until, _ = self.render(turn + 1)
        if not until.startswith(prompt):
            raise RowError("chat template: its generation prompt is not what it writes before an answer")
        answer = self._without_closing(until[len(prompt) :]).rstrip()
        if not text.startswith(prompt + answer):
            raise RowError("chat template rewrites earlier turns")
        return len(prompt), len(prompt) + len(answer)

    def _without_closing(self, answer: str) -> str:
        """Without the token that closes the conversation after the turn's own end token (Phi-3 writes both)."""
        turn = answer.removesuffix(self.special.get("eos_token") or "").rstrip()
        return turn if turn.endswith(self.control_tokens) else answer


@lru_cache(maxsize=2)
def _control_tokens(tokenizer: PreTrainedTokenizerFast) -> tuple[str, ...]:
    added = tokenizer.backend_tokenizer.get_added_tokens_decoder().values()
    return tuple(token.content for token in added if token.special)


def _template_of(tokenizer: PreTrainedTokenizerFast, tools: Any) -> str:
    try:
        return tokenizer.get_chat_template(tools=tools)
    except ValueError as error:
        raise SettingsError(f"chat template: {shown(str(error))}; or use another one: --template alpaca") from None


def _marked(turns: Sequence[Turn], marks: list[Span]) -> list[Span]:
    answers = [turn for turn in turns if turn.role == "assistant"]
    if all(turn.trained for turn in answers):
        return marks
    if marks and len(marks) != len(answers):
        raise RowError("chat template: its {% generation %} marks do not match the assistant turns")
    return [mark for mark, turn in zip(marks, answers, strict=False) if turn.trained]


def _tools(text: str | None) -> Any:
    if text is None:
        return None
    tools = json.loads(text)
    return tools if isinstance(tools, list) else [tools]
