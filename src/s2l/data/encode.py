"""Rendered rows → token ids and which of them count, a batch at a time into flat arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
from jaxtyping import Bool, Int
from tokenizers import Encoding, Tokenizer, normalizers

from s2l.data.templates import Segment
from s2l.errors import SettingsError, shown

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Row = TypeVar("Row")

NORMAL_FORMS = (normalizers.NFC, normalizers.NFD, normalizers.NFKC, normalizers.NFKD)

Given = tuple[Int[np.ndarray, " _"], Bool[np.ndarray, " _"]]


@dataclass(frozen=True)
class Encoder:
    """A private copy of a tokenizer's backend, which adds, cuts and pads nothing, and the ids that go around a row.

    ascii_is_normal: its normalizer changes no ASCII text.
    """

    backend: Tokenizer
    ascii_is_normal: bool
    bos: tuple[int, ...]
    eos: int
    vocabulary: int


@dataclass(frozen=True)
class Encoded:
    """Token ids of several rows, end to end, and which count. Row i is `input_ids[bounds[i]:bounds[i + 1]]`."""

    input_ids: Int[np.ndarray, " all_tokens"]
    counted: Bool[np.ndarray, " all_tokens"]
    bounds: Int[np.ndarray, " ends"]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def lengths(self) -> Int[np.ndarray, " B"]:
        """Tokens per row."""
        return np.diff(self.bounds)

    @property
    def can_be_scored(self) -> Bool[np.ndarray, " B"]:
        """Whether any token of the row counts."""
        counted_before = np.concatenate([[0], np.cumsum(self.counted)])
        scorable_B: Bool[np.ndarray, " B"] = np.diff(counted_before[self.bounds]) > 0
        return scorable_B

    def rows(self) -> list[Given]:
        """The rows one by one, without a copy."""
        return [(self.input_ids[a:b], self.counted[a:b]) for a, b in pairwise(self.bounds.tolist())]

    def cut(self, max_length: int) -> Encoded:
        """The first `max_length` tokens of every row, the very first not counted: nothing predicts it."""
        place = np.arange(len(self.input_ids)) - np.repeat(self.bounds[:-1], self.lengths)
        kept = place < max_length
        counted = self.counted & (place > 0)
        return Encoded(self.input_ids[kept], counted[kept], bounds_of(np.minimum(self.lengths, max_length).tolist()))


def bounds_of(lengths: Iterable[int]) -> Int[np.ndarray, " ends"]:
    """Where each of several runs starts when they stand end to end, and where the last one ends."""
    return np.fromiter(accumulate(lengths, initial=0), np.int64)


def probe_tokenizer(tokenizer: PreTrainedTokenizerFast) -> Encoder:
    """Which ids the tokenizer puts around a text; SettingsError where it has no fast backend or no end token."""
    name = shown(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise SettingsError(f"tokenizer {name} has no fast form (tokenizer.json); convert it or use another one")
    if tokenizer.eos_token_id is None:
        raise SettingsError(f"tokenizer {name} has no end token; set eos_token in its tokenizer_config.json")
    backend = Tokenizer.from_str(backend.to_str())
    backend.no_truncation()
    backend.no_padding()
    whole, part = (backend.encode("a", add_special_tokens=add).ids for add in (True, False))
    bos = next(whole[:i] for i in range(len(whole)) if whole[i : i + len(part)] == part)
    # A byte-level post-processor trims white space from the offsets, which then would not count.
    backend.post_processor = None
    return Encoder(backend, _leaves_ascii(backend), tuple(bos), int(tokenizer.eos_token_id), len(tokenizer))


@dataclass(frozen=True)
class Way(Generic[Row]):
    """How rows become tokens. `ask` is the tokenizer's work, which needs no interpreter; `gather` puts it together."""

    ask: Callable[[Sequence[Row], Encoder], Sequence[Encoding]]
    gather: Callable[[Sequence[Row], Sequence[Encoding], Encoder], Encoded]

    def __call__(self, rows: Sequence[Row], encoder: Encoder) -> Encoded:
        """Both, one after the other."""
        return self.gather(rows, self.ask(rows, encoder), encoder)


def _leaves_ascii(backend: Tokenizer) -> bool:
    added = backend.get_added_tokens_decoder().values()
    return isinstance(backend.normalizer, NORMAL_FORMS) and all(token.content.isascii() for token in added)


def _ask_plain(rows: Sequence[Sequence[Segment]], encoder: Encoder) -> Sequence[Encoding]:
    backend, normalizer = encoder.backend, encoder.backend.normalizer
    backend.encode_special_tokens = True
    texts = [segment.text for segments in rows for segment in segments]
    are_ascii = [text.isascii() for text in texts]
    found = []
    for ascii_ in (False, True):
        some = [text for text, is_ascii in zip(texts, are_ascii, strict=True) if is_ascii == ascii_]
        backend.normalizer = None if ascii_ and encoder.ascii_is_normal else normalizer
        found.append(iter(backend.encode_batch_fast(some, add_special_tokens=False)))
    backend.normalizer = normalizer
    return [next(found[is_ascii]) for is_ascii in are_ascii]


def _gather_plain(rows: Sequence[Sequence[Segment]], encodings: Sequence[Encoding], encoder: Encoder) -> Encoded:
    each, end = iter(encodings), (encoder.eos,)
    pieces: list[Sequence[int]] = []
    counted: list[bool] = []
    row_bounds = [0]
    for segments in rows:
        pieces.append(encoder.bos)
        counted.append(False)
        for segment in segments:
            pieces += (next(each).ids, end) if segment.ended else (next(each).ids,)
            counted += (segment.counted,) * (1 + segment.ended)
        row_bounds.append(len(pieces))
    bounds_S = bounds_of(map(len, pieces))
    return Encoded(
        np.fromiter(chain.from_iterable(pieces), np.int32, bounds_S[-1]),
        np.repeat(np.array(counted, dtype=np.bool_), np.diff(bounds_S)),
        bounds_S[row_bounds],
    )


def _ask_chat(rows: Sequence[Sequence[Segment]], encoder: Encoder) -> Sequence[Encoding]:
    encoder.backend.encode_special_tokens = False
    texts = ["".join([segment.text for segment in segments]) for segments in rows]
    encodings: Sequence[Encoding] = encoder.backend.encode_batch(texts, add_special_tokens=False)
    return encodings


def _gather_chat(rows: Sequence[Sequence[Segment]], encodings: Sequence[Encoding], _encoder: Encoder) -> Encoded:
    bounds = bounds_of(map(len, encodings))
    bounds_S = bounds_of(len(segment.text) for segments in rows for segment in segments)
    counted_S = np.array([segment.counted for segments in rows for segment in segments], dtype=np.bool_)
    counted_S &= np.diff(bounds_S) > 0  # an answer of no characters shares none
    row_begins = bounds_S[bounds_of(map(len, rows))[:-1]]
    offsets = chain.from_iterable(chain.from_iterable(encoding.offsets for encoding in encodings))
    in_row = np.fromiter(offsets, np.int64, 2 * bounds[-1]).reshape(-1, 2)
    begins, ends = (in_row + np.repeat(row_begins, np.diff(bounds))[:, None]).T
    reached = np.searchsorted(bounds_S[:-1][counted_S], ends, side="left")
    passed = np.searchsorted(bounds_S[1:][counted_S], begins, side="right")
    ids = chain.from_iterable(encoding.ids for encoding in encodings)
    return Encoded(np.fromiter(ids, np.int32, bounds[-1]), reached > passed, bounds)


def _gather_given(rows: Sequence[Given], _encodings: Sequence[Encoding], _encoder: Encoder) -> Encoded:
    nothing = (np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.bool_))
    input_ids, counted = zip(*rows, nothing, strict=True)
    return Encoded(np.concatenate(input_ids), np.concatenate(counted), bounds_of(map(len, input_ids[:-1])))


# BOS if the tokenizer adds one, then each segment encoded on its own; what spells a special token stays text.
encode_plain = Way(_ask_plain, _gather_plain)
# Each row in one go, as the model will see it: a token counts where it shares a character with what counts.
encode_chat = Way(_ask_chat, _gather_chat)
# Rows that are token ids already.
encode_given = Way(lambda _rows, _encoder: (), _gather_given)
