"""The values that flow through a run: Pool → Tokens → Trajectories → Selection, and what always holds of them.

Axis letters: N examples, T checkpoints, K clusters, B batch, L tokens, V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int, Shaped

from s2l.ids import are_unique, find_ids, id_order

Role = Literal["system", "user", "input", "assistant", "tool", "text"]
STATISTICS = ("nll", "hits", "p_target", "p_max", "entropy", "el2n", "margin")
ID_LENGTH = 24
LEFT = "model"
"""In the record of a checkpoint that another trainer left: where its weights are; they are not copied."""
AT_ONCE = 65_536
"""Rows whose tokens are counted at once."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One utterance. `trained`: its tokens count in the loss (only ever true of `assistant` and `text`)."""

    role: Role
    text: str
    trained: bool = False


@dataclass(frozen=True, slots=True)
class Example:
    """One row in normal form: a conversation, or token ids with their labels (-100: not counted).

    `input` is the second field of an Alpaca instruction; `text` a plain document, all of it trained.
    """

    turns: tuple[Turn, ...] = ()
    tools: str | None = None
    input_ids: tuple[int, ...] | None = None
    labels: tuple[int, ...] | None = None
    source: str | None = None

    def to_content(self) -> bytes:
        """The canonical content, the bytes that ids are hashed from: JSON, keys sorted, nulls dropped."""
        fields: dict[str, Any] = {}
        if self.turns:
            fields["turns"] = [[turn.role, turn.text, turn.trained] for turn in self.turns]
        for name in ("tools", "input_ids", "labels", "source"):
            if (value := getattr(self, name)) is not None:
                fields[name] = value
        text = json.dumps(fields, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return text.encode("utf-8", "surrogatepass")

    @classmethod
    def from_content(cls, content: bytes) -> Example:
        """The inverse of `to_content`."""
        fields = json.loads(content.decode("utf-8", "surrogatepass"))
        return cls(
            turns=tuple(Turn(*turn) for turn in fields.get("turns", ())),
            tools=fields.get("tools"),
            input_ids=tuple(fields["input_ids"]) if "input_ids" in fields else None,
            labels=tuple(fields["labels"]) if "labels" in fields else None,
            source=fields.get("source"),
        )


@dataclass(frozen=True)
class Rows:
    """Who the rows are and where they stand, in file order. Nothing is keyed by row number: ids are content hashes.

    ids: 24 hex digits (dtype S24), unique: blake2b of canonical content and occurrence number.
    occurrence_N: 0 for the first of identical rows, 1 for its first exact repeat, and so on.
    source_N: index into `sources`; file_N: index into `files`.
    row_N: record number in its file, from 0; line_N: where a person finds it (JSONL, CSV: line; else record), from 1.
    excluded: id → reason, for every row that can never be chosen.
    added: how many of the last `files` came with each addition to a run whose proxy was already trained.
    """

    ids: Shaped[np.ndarray, " N"]
    occurrence_N: Int[np.ndarray, " N"]
    source_N: Int[np.ndarray, " N"]
    sources: tuple[str, ...]
    file_N: Int[np.ndarray, " N"]
    files: tuple[str, ...]
    row_N: Int[np.ndarray, " N"]
    line_N: Int[np.ndarray, " N"]
    excluded: Mapping[bytes, str] = field(default_factory=dict)
    added: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def addition_N(self) -> Int[np.ndarray, " N"]:
        """0 for the rows of the pool that the run was made from, 1 for those that were added first, and so on."""
        first = len(self.files) - sum(self.added)
        additions = np.repeat(np.arange(len(self.added) + 1), [first, *self.added])
        addition_N: Int[np.ndarray, " N"] = additions[self.file_N]
        return addition_N

    @property
    def trained_on_N(self) -> Bool[np.ndarray, " N"]:
        """Which rows the pool had when the proxy was trained."""
        trained_on_N: Bool[np.ndarray, " N"] = self.addition_N == 0
        return trained_on_N

    @property
    def excluded_N(self) -> Bool[np.ndarray, " N"]:
        """Which rows can never be chosen."""
        return self.stand_in(np.array(sorted(self.excluded), dtype=self.ids.dtype))[1]

    def place(self, row: int) -> str:
        """Where a person finds the row: `file:line`."""
        return f"{self.files[self.file_N[row]]}:{self.line_N[row]}"

    def stand_in(self, ids: Shaped[np.ndarray, " M"]) -> tuple[Int[np.ndarray, " N"], Bool[np.ndarray, " N"]]:
        """Where each row stands in `ids` (ascending), and whether it does; if it does not, its place means nothing."""
        return find_ids(self.ids, ids)


@dataclass(frozen=True)
class Pool:
    """The rows as read.

    contents: canonical content of each row (`Example.to_content`), large_binary; empty where the row is excluded.
    digest: over the bytes of all files (or over the ids, for a pool from memory).
    container: how it is stored: jsonl, json, csv, parquet, arrow, dataset, hub or memory.
    format: the shape of its rows (`config.Format`).
    notices: what a person should know about how the rows were read, one line each.
    """

    rows: Rows
    contents: pa.ChunkedArray
    digest: str
    container: str
    format: str
    notices: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def example(self, row: int) -> Example:
        """Row `row` in normal form."""
        return Example.from_content(self.contents[row].as_py())

    def examples(self, rows: Sequence[int]) -> Iterator[Example]:
        """These rows in normal form, in the order given."""
        for row in rows:
            yield self.example(row)


@dataclass(frozen=True)
class Tokens:
    """Input ids of every row that can be scored, in id order, and which of them count in the loss.

    Row i is `input_ids[start_N[i]:start_N[i + 1]]`; `counted` runs along it. The first token never counts (nothing
    predicts it), every row has at least one token that does.
    excluded: id → reason, for the rows of the pool that have no response token under this tokenizer.
    truncated_N: the row was cut at `max_length`.
    """

    ids: Shaped[np.ndarray, " N"]
    input_ids: Int[np.ndarray, " all_tokens"]
    counted: Bool[np.ndarray, " all_tokens"]
    start_N: Int[np.ndarray, " N+1"]
    truncated_N: Bool[np.ndarray, " N"]
    excluded: Mapping[bytes, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert np.all(self.ids[:-1] < self.ids[1:]), "ids must be unique and ascending"
        assert np.all(self.response_lengths > 0), "a row without a response token has no loss"

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, rows: Int[np.ndarray, " n"]) -> Tokens:
        """These rows alone, in ascending order; of those that were turned away nothing is said."""
        every = np.repeat(np.isin(np.arange(len(self)), rows), self.lengths)
        return Tokens(
            ids=self.ids[rows],
            input_ids=self.input_ids[every],
            counted=self.counted[every],
            start_N=np.concatenate([[0], np.cumsum(self.lengths[rows])]),
            truncated_N=self.truncated_N[rows],
        )

    @property
    def lengths(self) -> Int[np.ndarray, " N"]:
        """Tokens per row."""
        return np.diff(self.start_N)

    @cached_property
    def response_lengths(self) -> Int[np.ndarray, " N"]:
        """Tokens per row that count in the loss."""
        lengths_N = np.empty(len(self), dtype=np.int64)
        for start in range(0, len(self), AT_ONCE):  # numpy makes int64 of all that it sums at once
            first_n = self.start_N[start : start + AT_ONCE + 1]
            counted = self.counted[first_n[0] : first_n[-1]]
            lengths_N[start : start + AT_ONCE] = np.add.reduceat(counted, first_n[:-1] - first_n[0], dtype=np.int64)
        return lengths_N


class LazySums(Mapping[str, "Float[np.ndarray, 'N T']"]):
    """Statistic → (N, T), float32, each read when it is first asked for, and kept."""

    def __init__(self, read: Callable[[str], Float[np.ndarray, "N T"]]) -> None:
        self._read = read
        self._there: dict[str, Float[np.ndarray, "N T"]] = {}

    def __getitem__(self, name: str) -> Float[np.ndarray, "N T"]:
        if name not in STATISTICS:
            raise KeyError(name)
        if name not in self._there:
            self._there[name] = self._read(name)
        return self._there[name]

    def __iter__(self) -> Iterator[str]:
        return iter(STATISTICS)

    def __len__(self) -> int:
        return len(STATISTICS)


@dataclass(frozen=True)
class Trajectories:
    """What every checkpoint says of every row: sums over response tokens; means are derived late.

    ids: ascending. steps: training step of each checkpoint. tokens_N: response tokens.
    sums: statistic → (N, T), float32; nll in nats. Finite and complete: no value is ever imputed.
    folder: where they are on disk; arrays made from them that are too large for memory go there.
    """

    ids: Shaped[np.ndarray, " N"]
    steps: tuple[int, ...]
    tokens_N: Int[np.ndarray, " N"]
    sums: Mapping[str, Float[np.ndarray, "N T"]]
    folder: Path | None = None

    def __post_init__(self) -> None:
        assert np.all(self.ids[:-1] < self.ids[1:]), "ids must be unique and ascending"
        for name, sum_NT in () if isinstance(self.sums, LazySums) else self.sums.items():
            assert sum_NT.shape == (len(self.ids), len(self.steps)), name
            assert np.isfinite(sum_NT).all(), name

    def __len__(self) -> int:
        return len(self.ids)

    def mean(self, statistic: str, rows: slice | Int[np.ndarray, " n"] = slice(None)) -> Float[np.ndarray, "n T"]:
        """The statistic per response token, of these rows, float64."""
        mean_nT: Float[np.ndarray, "n T"] = self.sums[statistic][rows].astype(np.float64) / self.tokens_N[rows, None]
        return mean_nT

    @property
    def losses_NT(self) -> Float[np.ndarray, "N T"]:
        """Loss trajectories: nats per response token, float64."""
        return self.mean("nll")


@runtime_checkable
class Representations(Protocol):
    """What can be told of the rows beside their losses; recorded when first asked for, then kept with the run.

    column: of the trajectories' checkpoints.
    """

    def embeddings(self, pooling: Literal["response", "position"], column: int) -> Float[np.ndarray, "N D"]:
        """Mean of the last hidden states: of those that predict the response, or of all weighted by position."""

    def gradient_norms(self, scope: Literal["all", "head"], column: int) -> Float[np.ndarray, " N"]:
        """Norm of the gradient of each row's mean response loss, by all parameters or by the head's."""

    def losses_alone(self, column: int) -> Float[np.ndarray, " N"]:
        """Loss of the response without its prompt, nats per response token."""

    def example_embeddings(
        self, path: str, pooling: Literal["response", "position"], column: int
    ) -> Float[np.ndarray, "M D"]:
        """Embeddings of the rows of a file, in the order of their ids, made as those of the pool."""

    def embeddings_after(self, rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, "N D"]:
        """Response embeddings by the proxy trained, from its starting weights, on these rows alone; none: untrained."""

    def means_after(self, statistic: str, rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, " N"]:
        """One of `STATISTICS` per response token, by the proxy trained on these rows alone; none: untrained."""


@dataclass(frozen=True)
class Recorded:
    """All that a selection method may look at, in id order: the rows that can be chosen.

    source_N: index into `sources`. lengths_N: proxy tokens of the row after truncation, prompt and response.
    most: the most rows that will be drawn; a method that ranks one row after the other may stop there.
    more: what else the run can tell, None where there is only what was recorded.
    """

    trajectories: Trajectories
    source_N: Int[np.ndarray, " N"]
    sources: tuple[str, ...]
    lengths_N: Int[np.ndarray, " N"]
    most: int | None = None
    more: Representations | None = None

    def __len__(self) -> int:
        return len(self.trajectories)

    @property
    def wanted(self) -> int:
        """Rows that a method has to put in order, at most."""
        return min(self.most or len(self), len(self))


@dataclass(frozen=True)
class Plan:
    """A method's answer for every row, in id order; the shared draw turns it into any budget.

    group_N: from 0; the budget is shared evenly over the groups, smallest first. All zeros: no groups, best first.
    score_N: inside a group the lowest score is taken first, ties by id. distance_N: to the group's centre, or nan.
    last_N: rows that the method turns away: none is taken before all others are. group_names: for people, or none.
    last_name: for people, what the rows of `last_N` are, where that says more than their group.
    facts: what the report and the manifest should say (K, iterations, inertia, …), JSON-able.
    """

    group_N: Int[np.ndarray, " N"]
    score_N: Float[np.ndarray, " N"]
    distance_N: Float[np.ndarray, " N"]
    last_N: Bool[np.ndarray, " N"] | None = None
    group_word: str = "cluster"
    group_names: tuple[str, ...] = ()
    last_name: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Selection:
    """The verdict on every row of the pool, in file order: kept or not, and why.

    cluster_N: -1 where the method has no groups or the row was excluded. score_N: what the method ranked by inside
    the group (lower is taken first), nan where excluded. distance_N: to the cluster's centroid, nan without one.
    reason_N: index into `reasons`.
    """

    method: str
    budget: int
    ids: Shaped[np.ndarray, " N"]
    kept_N: Bool[np.ndarray, " N"]
    cluster_N: Int[np.ndarray, " N"]
    score_N: Float[np.ndarray, " N"]
    distance_N: Float[np.ndarray, " N"]
    reason_N: Int[np.ndarray, " N"]
    reasons: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert are_unique(self.ids), "an id twice"
        assert self.kept_N.sum() == self.budget, "the budget is exact"

    @property
    def kept_ids(self) -> Shaped[np.ndarray, " budget"]:
        """Ids of the chosen rows, ascending."""
        kept: Shaped[np.ndarray, " budget"] = self.ids[self.kept_N]
        kept = kept[id_order(kept)]
        return kept

    @property
    def sha256(self) -> str:
        """Digest of the chosen ids, ascending, one a line."""
        return sha256(b"".join(bytes(id_) + b"\n" for id_ in self.kept_ids)).hexdigest()


@dataclass(frozen=True)
class Checkpoint:
    """One saved state of the proxy: a folder with config.json and model.safetensors, and the digest of the latter."""

    step: int
    path: Path
    sha256: str
