"""Text of rows as a person may see it: decoded from tokens, cut, with nothing in it that a terminal would obey."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from tokenizers import Tokenizer

from s2l.data.templates import STYLES
from s2l.errors import RunFolderError, printable
from s2l.types import Tokens

HEAD, TAIL = 360, 120
"""Characters of a piece of text that are shown: so many of its beginning, so many of its end."""
MOST_LINES, LAST_LINES = 24, 6
LINE = {"prompt": 72, "response": 88}
"""Characters of each that stand in one line."""
MOST_TOKENS = 512
"""Tokens that are decoded for a line, the template's preamble among them."""
BYTES_OF_A_TOKEN = 4
"""A token of part of a character may decode to nothing; of so many in a row one is text."""
GAP = " … "
PREAMBLES = tuple(preamble for style in STYLES.values() for preamble in style.preambles or ())


@dataclass(frozen=True)
class Texts:
    """The rows of a run, as its proxy read them; no text of them without a decoder."""

    tokens: Tokens
    decoder: Tokenizer | None

    def pieces(self, row: int) -> list[dict[str, Any]]:
        """The row's text in pieces, each counted in the loss or not, cut in their middle."""
        return pieces_of(*self._row(row), self._decoder)

    def line(self, row: int) -> dict[str, str]:
        """What the row asks and what it answers first, each on one line, cut; without the preamble of the template."""
        input_ids, counted = self._row(row)
        spans = list(alike(counted))
        texts = {}
        for name, wanted in (("prompt", False), ("response", True)):
            start, stop = next(((a, b) for a, b, is_counted in spans if is_counted == wanted), (0, 0))
            text = self._decoder.decode(input_ids[start : min(stop, start + MOST_TOKENS)].tolist(), False)
            texts[name] = cut(" ".join(without_preamble(text).split()), LINE[name])
        return texts

    def _row(self, row: int) -> tuple[Int[np.ndarray, " L"], Bool[np.ndarray, " L"]]:
        span = slice(*self.tokens.start_N[row : row + 2])
        return self.tokens.input_ids[span], self.tokens.counted[span]

    @property
    def _decoder(self) -> Tokenizer:
        assert self.decoder is not None, "text is not to be told"
        return self.decoder


def load_decoder(folder: Path) -> Tokenizer:
    """The tokenizer in `folder`, to decode alone; RunFolderError where it is damaged."""
    try:
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception:  # the library raises no error of its own kind
        raise RunFolderError(f"{folder}: no tokenizer, or damaged; run the run's command again") from None


def pieces_of(
    input_ids: Int[np.ndarray, " L"], counted: Bool[np.ndarray, " L"], decoder: Tokenizer, max_length: int | None = None
) -> list[dict[str, Any]]:
    """Tokens as text, in pieces of tokens that are treated alike: counted in the loss or not, cut off or not.

    max_length: what stands behind it is cut off, and does not count.
    """
    length = len(input_ids) if max_length is None else min(max_length, len(input_ids))
    off = np.arange(len(input_ids)) >= length
    kinds = np.where(off, 2, counted)
    return [
        {"text": _middle_out(input_ids[a:b], decoder), "tokens": b - a, "counted": kind == 1, "cut_off": kind == 2}
        for a, b, kind in alike(kinds)
    ]


def alike(values: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Runs of equal values: where each begins and ends, and the value."""
    borders = np.flatnonzero(np.diff(values.astype(np.int8))) + 1
    bounds = [0, *borders.tolist(), len(values)]
    for start, stop in pairwise(bounds):
        if stop > start:
            yield start, stop, int(values[start])


def cut(text: str, most: int) -> str:
    """The first `most` characters, printable."""
    head = printable(text[: most + 1])
    return head if len(text) <= most and len(head) <= most else head[: most - 1].rstrip() + "…"


def middle_out(text: str) -> str:
    """The beginning and the end of a text, printable but for its line breaks, of which there are few."""
    if len(text) > HEAD + TAIL:
        text = f"{text[:HEAD]}{GAP}{text[-TAIL:]}"
    lines = [printable(line) for line in text.split("\n")]
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - LAST_LINES], GAP.strip(), *lines[-LAST_LINES:]]
    safe = "\n".join(lines)
    return safe if len(safe) <= HEAD + len(GAP) + TAIL else f"{safe[:HEAD]}{GAP}{safe[-TAIL:]}"


def without_preamble(text: str) -> str:
    """The text without the words that a template puts before every row."""
    for preamble in PREAMBLES:
        text = text.removeprefix(preamble)
    return text.lstrip("\n")


def _middle_out(input_ids: Int[np.ndarray, " L"], decoder: Tokenizer) -> str:
    head, tail = BYTES_OF_A_TOKEN * HEAD, BYTES_OF_A_TOKEN * TAIL
    if len(input_ids) <= head + tail:
        return middle_out(decoder.decode(input_ids.tolist(), False))
    first, last = (decoder.decode(part.tolist(), False) for part in (input_ids[:head], input_ids[-tail:]))
    return middle_out(f"{first[:HEAD]}{GAP}{last[-TAIL:]}")
