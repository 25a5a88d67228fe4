"""Pool → Tokens: render, encode, mark what counts, cut at max_length; and Tokens on disk as one Arrow file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int
from tokenizers import Tokenizer

from s2l.config import TokenSettings
from s2l.data.templates import RowError, Segment, choose_template, render
from s2l.errors import DataError, RunFolderError, SettingsError, shown
from s2l.files import written_whole
from s2l.progress import SILENT, Progress
from s2l.types import Example, Pool, Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BATCH_ROWS = 10_000
BATCH_BYTES = 32 * 2**20
IGNORED = -100
EXCLUDED_KEY = b"s2l.excluded"
DIGEST_KEY = b"s2l.sha256"

Encoded = tuple[Int[np.ndarray, " L"], Bool[np.ndarray, " L"]]
Prepared = TypeVar("Prepared")


@dataclass(frozen=True)
class Encoder:
    """A private copy of a tokenizer's backend, which adds, cuts and pads nothing, and the ids that go around a row."""

    backend: Tokenizer
    bos: tuple[int, ...]
    eos: int
    vocabulary: int


@dataclass(frozen=True, slots=True)
class _Row:
    id: bytes
    input_ids: Int[np.ndarray, " L"]
    counted: Bool[np.ndarray, " L"]
    truncated: bool


def tokenize(
    pool: Pool,
    tokenizer: PreTrainedTokenizerFast,
    settings: TokenSettings,
    *,
    builtin: bool,
    progress: Progress = SILENT,
) -> Tokens:
    """Input ids of every row that has a loss under this tokenizer, cut on the right at `max_length`, in id order.

    A plain row is BOS if the tokenizer adds one, then each segment encoded on its own, with an end token after each
    answer; text that spells a special token stays text. A chat row is encoded in one go, as the model will see it.
    Raises SettingsError for a tokenizer that will not do, DataError where token ids do not fit or no row is left.
    """
    encoder = probe_tokenizer(tokenizer)
    template, notice = choose_template(pool.format, settings.template, tokenizer, builtin)
    if template == "tokenized" and settings.tokenizer is None:
        raise SettingsError("the rows are already tokenized: name the tokenizer that did it: --tokenizer NAME")
    progress.note(notice)
    kept: list[_Row] = []
    excluded: dict[bytes, str] = {}
    with progress.stage("tokenize", len(pool), "rows") as advance:
        for batch in _batches(pool):
            encoded, refused = _encode(pool, batch, template, tokenizer, encoder)
            excluded |= refused
            for row, (input_ids, counted) in encoded.items():
                cut = _cut(bytes(pool.rows.ids[row]), input_ids, counted, settings.max_length)
                if cut.counted.any():
                    kept.append(cut)
                else:
                    excluded[cut.id] = "no response token within max_length"
            advance(len(batch))
    if not kept:
        raise DataError(_nothing_left(pool, excluded))
    return _gathered(kept, excluded)


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
    return Encoder(backend, tuple(bos), int(tokenizer.eos_token_id), len(tokenizer))


def segment_texts(pool: Pool, template: str) -> Iterator[str]:
    """The texts that a plain template gives to the tokenizer, to fit one on them; unusable rows are left out."""
    for batch in _batches(pool):
        segments_by_row, _ = _prepared(pool, batch, lambda example: _rendered(example, template, None))
        for segments in segments_by_row.values():
            yield from (segment.text for segment in segments)


def fitting_texts(pool: Pool, settings: TokenSettings) -> Iterator[str]:
    """The texts that the built-in proxy's tokenizer is fitted on: those that it will encode."""
    template, _ = choose_template(pool.format, settings.template, None, builtin=True)
    yield from segment_texts(pool, template)


def save_tokens(tokens: Tokens, path: Path) -> None:
    """Write one Arrow IPC file of one record batch, whole or not at all."""
    columns = {
        "id": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(tokens.ids.itemsize), len(tokens), [None, pa.py_buffer(np.ascontiguousarray(tokens.ids))]
        ),
        "input_ids": pa.LargeListArray.from_arrays(tokens.start_N.astype(np.int64), pa.array(tokens.input_ids)),
        "counted": pa.LargeListArray.from_arrays(
            tokens.start_N.astype(np.int64), pa.array(tokens.counted.view(np.uint8))
        ),
        "truncated": pa.array(tokens.truncated_N.view(np.uint8)),
    }
    excluded = json.dumps({id_.decode(): reason for id_, reason in sorted(tokens.excluded.items())}).encode()
    metadata = {EXCLUDED_KEY: excluded, DIGEST_KEY: _digest(tokens, excluded)}
    batch = pa.RecordBatch.from_pydict(columns).replace_schema_metadata(metadata)
    with written_whole(path) as part, pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def load_tokens(path: Path) -> Tokens:
    """Map Tokens from disk, without a copy; a file that is missing or damaged is a RunFolderError."""
    try:
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
        batch.validate(full=True)
        input_ids, counted = batch["input_ids"], batch["counted"]
        excluded = batch.schema.metadata[EXCLUDED_KEY]
        tokens = Tokens(
            ids=np.frombuffer(batch["id"].buffers()[1], dtype=f"S{batch['id'].type.byte_width}", count=len(batch)),
            input_ids=input_ids.values.to_numpy(),
            counted=counted.values.to_numpy().view(np.bool_),
            start_N=input_ids.offsets.to_numpy(),
            truncated_N=batch["truncated"].to_numpy().view(np.bool_),
            excluded={id_.encode(): reason for id_, reason in json.loads(excluded).items()},
        )
        if _digest(tokens, excluded) != batch.schema.metadata[DIGEST_KEY]:
            raise ValueError("digest")
        return tokens
    except Exception:  # Arrow has many ways to fail on a damaged file
        raise RunFolderError(f"{path}: no tokens, or damaged; remove the file and run the same command again") from None


def _digest(tokens: Tokens, excluded: bytes) -> bytes:
    digest = sha256(excluded)
    for array in (tokens.ids, tokens.start_N, tokens.input_ids, tokens.counted, tokens.truncated_N):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest().encode()


def _batches(pool: Pool) -> Iterator[list[int]]:
    sizes = pc.binary_length(pool.contents).to_numpy()
    batch: list[int] = []
    size = 0
    for row, id_ in enumerate(pool.rows.ids.tolist()):
        if id_ in pool.rows.excluded:
            continue
        batch.append(row)
        size += sizes[row]
        if len(batch) == BATCH_ROWS or size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _encode(
    pool: Pool, batch: Sequence[int], template: str, tokenizer: PreTrainedTokenizerFast, encoder: Encoder
) -> tuple[dict[int, Encoded], dict[bytes, str]]:
    if template == "tokenized":
        return _prepared(pool, batch, lambda example: _given(example, encoder.vocabulary))
    segments, refused = _prepared(pool, batch, lambda example: _rendered(example, template, tokenizer))
    encode = _encode_chat if template == "chat" else _encode_plain
    return dict(zip(segments, encode(list(segments.values()), encoder), strict=True)), refused


def _prepared(
    pool: Pool, batch: Sequence[int], prepare: Callable[[Example], Prepared]
) -> tuple[dict[int, Prepared], dict[bytes, str]]:
    prepared: dict[int, Prepared] = {}
    refused: dict[bytes, str] = {}
    for row in batch:
        try:
            prepared[row] = prepare(pool.example(row))
        except RowError as error:
            refused[bytes(pool.rows.ids[row])] = str(error)
        except DataError as error:
            raise DataError(f"{pool.rows.place(row)}: {error}") from None
    return prepared, refused


def _rendered(example: Example, template: str, tokenizer: PreTrainedTokenizerFast | None) -> list[Segment]:
    segments = render(example, template, tokenizer)
    try:
        "".join(segment.text for segment in segments).encode()
    except UnicodeEncodeError:
        raise RowError("text is not valid Unicode (lone surrogate)") from None
    return segments


def _given(example: Example, vocabulary: int) -> Encoded:
    input_ids, labels = example.input_ids or (), example.labels or example.input_ids or ()
    stranger = next((id_ for id_ in input_ids if not 0 <= id_ < vocabulary), None)
    if stranger is not None:
        raise DataError(
            f"token id {shown(stranger)} is not one of the tokenizer's {vocabulary}; "
            "name the tokenizer that made the rows: --tokenizer NAME"
        )
    if len(labels) != len(input_ids) or any(b not in (IGNORED, a) for a, b in zip(input_ids, labels, strict=True)):
        raise RowError("labels are not the input ids or -100")
    counted = np.array(labels, dtype=np.int64) != IGNORED
    if not counted[1:].any():
        raise RowError("nothing marked to train on")
    return np.array(input_ids, dtype=np.int32), counted


def _encode_plain(rows: Sequence[Sequence[Segment]], encoder: Encoder) -> Iterator[Encoded]:
    encoder.backend.encode_special_tokens = True
    texts = [segment.text for segments in rows for segment in segments]
    encodings = iter(encoder.backend.encode_batch_fast(texts, add_special_tokens=False))
    for segments in rows:
        ids = list(encoder.bos)
        flags, lengths = [False], [len(ids)]
        for segment in segments:
            piece = next(encodings).ids + [encoder.eos] * segment.ended
            ids += piece
            flags.append(segment.counted)
            lengths.append(len(piece))
        yield np.array(ids, dtype=np.int32), np.repeat(flags, lengths)


def _encode_chat(rows: Sequence[Sequence[Segment]], encoder: Encoder) -> Iterator[Encoded]:
    encoder.backend.encode_special_tokens = False
    texts = ["".join(segment.text for segment in segments) for segments in rows]
    for segments, encoding in zip(rows, encoder.backend.encode_batch(texts, add_special_tokens=False), strict=True):
        starts, ends = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2).T
        counted = np.zeros(len(starts), dtype=np.bool_)
        at = 0
        for segment in segments:
            end = at + len(segment.text)
            if segment.counted:
                counted |= (starts < end) & (ends > at)
            at = end
        yield np.array(encoding.ids, dtype=np.int32), counted


def _cut(id_: bytes, input_ids: Int[np.ndarray, " L"], counted: Bool[np.ndarray, " L"], max_length: int) -> _Row:
    counted[:1] = False
    return _Row(id_, input_ids[:max_length].copy(), counted[:max_length].copy(), len(input_ids) > max_length)


def _gathered(rows: list[_Row], excluded: Mapping[bytes, str]) -> Tokens:
    rows.sort(key=lambda row: row.id)
    return Tokens(
        ids=np.array([row.id for row in rows], dtype="S24"),
        input_ids=np.concatenate([row.input_ids for row in rows]),
        counted=np.concatenate([row.counted for row in rows]),
        start_N=np.concatenate([[0], np.cumsum([len(row.input_ids) for row in rows])]),
        truncated_N=np.array([row.truncated for row in rows]),
        excluded=excluded,
    )


def _nothing_left(pool: Pool, excluded: Mapping[bytes, str]) -> str:
    if not excluded:
        return "no row of the pool can be used: all were excluded while reading"
    reason, times = Counter(excluded.values()).most_common(1)[0]
    first = next(id_ for id_ in pool.rows.ids.tolist() if excluded.get(id_) == reason)
    place = pool.rows.place(int(np.flatnonzero(pool.rows.ids == first)[0]))
    return f"no row of the pool can be scored: {times} of {len(pool)}: {reason} (first: {place})"
