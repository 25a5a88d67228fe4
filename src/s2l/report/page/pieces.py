"""A row's tokens as text, each response token with its loss: what the proxy read, and what surprised it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from s2l.report.page.words import legible

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MOST_TEXT, MOST_PIECES, PROMPT_HEAD, PROMPT_TAIL = 1_400, 400, 400, 200
"""Characters and pieces of a row that are shown, and characters of each prompt in it: its beginning and its end."""
UNFINISHED = "\N{REPLACEMENT CHARACTER}"


@dataclass
class Piece:
    """Text that hangs together. loss: mean over its tokens, nats; None where they do not count."""

    text: str
    loss: float | None = None


def pieces_of(
    input_ids: Int[np.ndarray, " L"],
    counted: Bool[np.ndarray, " L"],
    losses: Float[np.ndarray, " R"] | None,
    tokenizer: PreTrainedTokenizerFast,
) -> list[Piece]:
    """The row's text in order: tokens that do not count in one piece, each that counts in one of its own.

    Tokens that only together spell a character share a piece. losses: of the tokens that count; 0 where not known.
    """
    found: list[Piece] = []
    begun: list[float] = []
    waiting = iter(np.zeros(int(counted.sum())) if losses is None else losses)

    def finish(text: str) -> None:
        if begun:
            found.append(Piece(text, float(np.mean(begun))))
            begun.clear()

    for text, counts in zip(texts(input_ids.tolist(), tokenizer), counted.tolist(), strict=True):
        if counts:
            begun.append(float(next(waiting)))
            if text:
                finish(text)
        else:
            finish(UNFINISHED)
            if not found or found[-1].loss is not None:
                found.append(Piece(""))
            found[-1].text += text
    finish(UNFINISHED)
    return [Piece(legible(piece.text), piece.loss) for piece in found if piece.text]


def texts(input_ids: Sequence[int], tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """What each token adds to the text; nothing where a later one completes its character.

    Each token's own text where the tokenizer cannot decode on the go: one whose text changes with what follows.
    """
    from tokenizers.decoders import DecodeStream

    backend = tokenizer.backend_tokenizer
    stream = DecodeStream(skip_special_tokens=False)
    try:
        return [stream.step(backend, token) or "" for token in input_ids]
    except Exception:  # the library raises no error of its own kind
        return [backend.decode([token], skip_special_tokens=False) for token in input_ids]


def cut(pieces: Sequence[Piece]) -> tuple[list[Piece], int]:
    """The pieces with long prompts and the end of a long row left out, and how many characters that are."""
    shown: list[Piece] = []
    left_out, room = 0, MOST_TEXT
    for piece in pieces:
        text, dropped = piece.text, 0
        if piece.loss is None and (dropped := max(0, len(text) - PROMPT_HEAD - PROMPT_TAIL)):
            text = f"{text[:PROMPT_HEAD]}\n… {dropped:,} characters left out …\n{text[-PROMPT_TAIL:]}"
        room = room if len(shown) < MOST_PIECES else 0
        dropped += max(0, len(text) - room)
        text = text[:room]
        room -= len(text)
        left_out += dropped
        if text:
            shown.append(Piece(text, piece.loss))
    return shown, left_out
