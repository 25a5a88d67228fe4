"""Pool → Tokens: render, encode, mark what counts, cut at max_length; and Tokens on disk as one Arrow file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Shaped

from s2l.config import TokenSettings
from s2l.data.encode import Encoded, Encoder, Way, bounds_of, encode_chat, encode_given, encode_plain, probe_tokenizer
from s2l.data.prepare import Batch, batches, given, rendered
from s2l.data.templates import choose_template
from s2l.errors import DataError, RunFolderError, SettingsError
from s2l.files import written_whole
from s2l.ids import id_order
from s2l.progress import SILENT, Progress
from s2l.types import ID_LENGTH, Pool, Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

EXCLUDED_KEY = b"s2l.excluded"
DIGEST_KEY = b"s2l.sha256"

Row = TypeVar("Row")


@dataclass(frozen=True)
class _Part:
    """The tokens of a batch, cut."""

    ids: Shaped[np.ndarray, " B"]
    encoded: Encoded
    truncated_B: Bool[np.ndarray, " B"]
    scorable_B: Bool[np.ndarray, " B"]


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
    prepare: Callable[..., Any] = partial(rendered, template=template, tokenizer=tokenizer)
    way: Way[Any] = encode_chat if template == "chat" else encode_plain
    if template == "tokenized":
        prepare, way = partial(given, vocabulary=encoder.vocabulary), encode_given
    parts: list[_Part] = []
    excluded: dict[bytes, str] = {}
    with progress.stage("tokenize", len(pool), "rows") as advance:
        for batch, encoded in _encoded(batches(pool, prepare), way, encoder):
            parts.append(_cut(batch, encoded, settings.max_length))
            without_loss = parts[-1].ids[~parts[-1].scorable_B].tolist()
            excluded |= {**batch.refused, **dict.fromkeys(without_loss, "no response token within max_length")}
            advance(batch.size)
    if not any(part.scorable_B.any() for part in parts):
        raise DataError(_nothing_left(pool, excluded))
    return _in_id_order(parts, excluded)


def segment_texts(pool: Pool, template: str) -> Iterator[str]:
    """The texts that a plain template gives to the tokenizer, to fit one on them; unusable rows are left out."""
    for batch in batches(pool, partial(rendered, template=template, tokenizer=None)):
        for segments in batch.rows.values():
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


def _encoded(prepared: Iterable[Batch[Row]], way: Way[Row], encoder: Encoder) -> Iterator[tuple[Batch[Row], Encoded]]:
    """Every batch with its tokens; the next is made ready while the tokenizer works, which frees the interpreter."""
    with ThreadPoolExecutor(1) as worker:
        waiting: tuple[Batch[Row], list[Row], Future[Any]] | None = None
        for batch in chain(prepared, [None]):
            before, waiting = waiting, None
            if batch:
                rows = list(batch.rows.values())
                waiting = batch, rows, worker.submit(way.ask, rows, encoder)
            if before:
                yield before[0], way.gather(before[1], before[2].result(), encoder)


def _cut(batch: Batch[Any], encoded: Encoded, max_length: int) -> _Part:
    cut = encoded.cut(max_length)
    return _Part(
        np.array(list(batch.rows), dtype=f"S{ID_LENGTH}"), cut, encoded.lengths > max_length, cut.can_be_scored
    )


def _in_id_order(parts: Sequence[_Part], excluded: Mapping[bytes, str]) -> Tokens:
    ids = np.concatenate([part.ids for part in parts])
    order = id_order(ids)
    order = order[np.concatenate([part.scorable_B for part in parts])[order]]
    rows = [row for part in parts for row in part.encoded.rows()]
    lengths = np.concatenate([part.encoded.lengths for part in parts])
    return Tokens(
        ids=ids[order],
        input_ids=np.concatenate([rows[row][0] for row in order.tolist()]),
        counted=np.concatenate([rows[row][1] for row in order.tolist()]),
        start_N=bounds_of(lengths[order].tolist()),
        truncated_N=np.concatenate([part.truncated_B for part in parts])[order],
        excluded=excluded,
    )


def _nothing_left(pool: Pool, excluded: Mapping[bytes, str]) -> str:
    if not excluded:
        return "no row of the pool can be used: all were excluded while reading"
    reason, times = Counter(excluded.values()).most_common(1)[0]
    first = next(id_ for id_ in pool.rows.ids.tolist() if excluded.get(id_) == reason)
    place = pool.rows.place(int(np.flatnonzero(pool.rows.ids == first)[0]))
    return f"no row of the pool can be scored: {times} of {len(pool)}: {reason} (first: {place})"
