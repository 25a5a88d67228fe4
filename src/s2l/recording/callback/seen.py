"""Losses that a training sees anyway: those of its own forward passes, every row of the pool once an epoch.

A row is known by its tokens and by which of them count, wherever it stands in a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Bool, Float, Int
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from s2l.data.prepare import IGNORED
from s2l.errors import NumericsError, RunFolderError, S2LError, SettingsError
from s2l.files import written_whole
from s2l.recording.callback.weights import unwrapped
from s2l.scoring.forward import HeadPath, response_statistics_at
from s2l.scoring.score import per_row
from s2l.types import STATISTICS, Tokens

AT_FIRST = 1000
"""Rows of the training that are looked at before it begins."""
OWN_ROWS = "record the rows as the trainer has them: TrajectoryRecorder(trainer.train_dataset, …)"
Span = tuple[int, Int[np.ndarray, " r"], Int[np.ndarray, " r"]]
"""A row of the pool that stands in a batch: which, where in the flattened batch its counted tokens are, their ids."""


class Seen:
    """Watches the forward passes of a model that trains, and sums what they say of the pool's rows."""

    def __init__(self, known: Contents, own: PreTrainedModel, path: HeadPath) -> None:
        self.known = known
        self._own, self._path = own, path
        self._rows: list[int] = []
        self._sums: list[Float[np.ndarray, "S B"]] = []
        self._error: S2LError | None = None
        self._states: torch.Tensor | None = None
        self._hooks: list[RemovableHandle] = []

    def watch(self, model: torch.nn.Module) -> None:
        """Begin: `model` is what the trainer calls, with all that is put around the own one."""
        self._hooks = [unwrapped(model).register_forward_hook(self._after_model, with_kwargs=True)]
        if self._path == "trunk":
            self._hooks.append(self._own.base_model.register_forward_hook(self._after_trunk))

    def close(self) -> None:
        """Watch no more."""
        for hook in self._hooks:
            hook.remove()

    def taken(self) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "S n"]]:
        """What was seen since the last call, by the first row of the same content; raises what went wrong meanwhile."""
        if self._error is not None:
            raise self._error
        seen = self._seen()
        self._rows, self._sums = [], []
        return seen

    @property
    def failed(self) -> bool:
        """Whether `taken` will raise."""
        return self._error is not None

    def keep(self, path: Path) -> None:
        """Save what was seen of an epoch that is not over."""
        rows, sums_Sn = self._seen()
        table = pa.table({"row": rows, **dict(zip(STATISTICS, sums_Sn, strict=True))})
        with written_whole(path) as part:
            pq.write_table(table, part, compression="zstd", write_page_checksum=True)

    def go_on(self, path: Path) -> None:
        """Take up what `keep` saved; RunFolderError where it is not there."""
        try:
            table = pq.read_table(path, memory_map=False, page_checksum_verification=True)
        except Exception:  # Arrow has many ways to fail on a damaged file
            raise RunFolderError(
                f"{path}: what was seen of this epoch is not there; go on from the end of an epoch, or train from the "
                "start with another out"
            ) from None
        self._rows = table["row"].to_pylist()
        self._sums = [np.stack([table[name].to_numpy() for name in STATISTICS])]

    def _seen(self) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "S n"]]:
        nothing = np.empty((len(STATISTICS), 0))
        return np.array(self._rows, dtype=np.int64), np.concatenate([nothing, *self._sums], axis=1)

    def _after_trunk(self, module: torch.nn.Module, _given: Any, output: Any) -> None:
        self._states = output.last_hidden_state if module.training else None

    def _after_model(self, module: torch.nn.Module, _given: Any, named: Mapping[str, Any], output: Any) -> None:
        states, self._states = self._states, None
        if not module.training or self._error is not None:
            return
        try:
            self._see(named, output, states)
        except S2LError as error:  # the training goes on; the recorder looks for it behind the step
            self._error = error
            self.close()

    @torch.no_grad()
    def _see(self, named: Mapping[str, Any], output: Any, states: torch.Tensor | None) -> None:
        spans = list(self.known.found(named))
        if not spans:
            return
        states_BLD, projection = self._head(named, output, states)
        position_R = torch.from_numpy(np.concatenate([at for _, at, _ in spans]) - 1).to(states_BLD.device)
        target_R = torch.from_numpy(np.concatenate([ids for _, _, ids in spans])).to(states_BLD.device)
        values_SR = response_statistics_at(states_BLD.detach().flatten(0, 1), position_R, target_R, projection)
        sums_SB = per_row(values_SR, np.array([len(at) for _, at, _ in spans]))
        if not np.isfinite(sums_SB).all():
            raise NumericsError("a loss of the training is not a finite number")
        self._rows += [row for row, _, _ in spans]
        self._sums.append(sums_SB)

    def _head(
        self, named: Mapping[str, Any], output: Any, states: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.nn.Module]:
        """The pass's own logits where it has them all, else the trunk's states and the head."""
        shape = named["input_ids"].shape
        logits = getattr(output, "logits", None)
        if isinstance(logits, torch.Tensor) and logits.shape[:2] == shape:
            return logits, torch.nn.Identity()
        if isinstance(states, torch.Tensor) and states.shape[:2] == shape:
            own: PreTrainedModel = self._own
            return states, own.get_output_embeddings()
        raise SettingsError("the model's forward pass gives no logits of all tokens, so there are no losses to see")


class Contents:
    """Which row of the pool holds which tokens; rows of the same content count as the first of them."""

    def __init__(self, tokens: Tokens) -> None:
        self._first: dict[bytes, int] = {}
        self._ids: set[bytes] = set()
        self.first_N = np.empty(len(tokens), dtype=np.int64)
        for row, (start, stop) in enumerate(pairwise(tokens.start_N.tolist())):
            ids, counted = tokens.input_ids[start:stop], tokens.counted[start:stop]
            self.first_N[row] = self._first.setdefault(_key(ids, counted), row)
            self._ids.add(_key(ids))

    def any_of(self, rows: Sequence[Sequence[int]]) -> bool:
        """Whether one of these rows of token ids is in the pool, whatever counts."""
        return any(_key(np.array(row, dtype=np.int64)) in self._ids for row in rows)

    def found(self, batch: Mapping[str, Any]) -> Iterator[Span]:
        """The pool's rows in what a model is given; SettingsError where that are no token ids with labels."""
        if not isinstance(batch.get("input_ids"), torch.Tensor) or not isinstance(batch.get("labels"), torch.Tensor):
            raise SettingsError(
                "the model is given no labels with its input_ids (label smoothing, a loss function of one's own), so "
                "that nothing tells which tokens count"
            )
        ids_P, labels_P = (batch[name].cpu().numpy().reshape(-1) for name in ("input_ids", "labels"))
        for place_l in _rows_of(batch):
            counted_l = labels_P[place_l] != IGNORED
            counted_l[0] = False
            row = self._first.get(_key(ids_P[place_l], counted_l))
            if row is not None:
                at = place_l[counted_l]
                yield row, at, ids_P[at].astype(np.int64)


def whole_epoch(
    seen: Sequence[tuple[Int[np.ndarray, " n"], Float[np.ndarray, "S n"]]], first_N: Int[np.ndarray, " N"]
) -> tuple[Float[np.ndarray, "S N"], Bool[np.ndarray, " N"]]:
    """Sums of every row from what each process saw, in order, and which rows were not seen.

    Of rows with the same content each takes the next that was seen; what was seen more often is left out.
    """
    rows_n, sums_Sn = (np.concatenate(parts, axis=-1) for parts in zip(*seen, strict=True))
    order_N, order_n = np.argsort(first_N, kind="stable"), np.argsort(rows_n, kind="stable")
    begin_n = np.searchsorted(rows_n[order_n], rows_n[order_n])
    place_n = np.searchsorted(first_N[order_N], rows_n[order_n]) + np.arange(len(rows_n)) - begin_n
    own_n = place_n < np.searchsorted(first_N[order_N], rows_n[order_n], side="right")
    sums_SN = np.full((len(STATISTICS), len(first_N)), np.nan)
    sums_SN[:, order_N[place_n[own_n]]] = sums_Sn[:, order_n[own_n]]
    return sums_SN, np.isnan(sums_SN[0])


def check_rows(known: Contents, dataset: Any) -> None:
    """SettingsError where the training's rows, as far as can be told before it begins, are not those of the pool."""
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__") or not len(dataset):
        return
    places = np.unique(np.linspace(0, len(dataset) - 1, AT_FIRST).astype(np.int64))
    rows = [dataset[place] for place in places.tolist()]
    if not all(isinstance(row, Mapping) and "input_ids" in row for row in rows) or "seq_lengths" in rows[0]:
        return
    if not known.any_of([row["input_ids"] for row in rows]):
        raise SettingsError(
            f"TrajectoryRecorder: of {len(rows):,} rows of the training none is a row of the pool, token for token; "
            + OWN_ROWS
        )


def _rows_of(batch: Mapping[str, Any]) -> Iterator[Int[np.ndarray, " l"]]:
    """Where in the flattened batch each row stands: without padding, and apart where several are packed into one."""
    shape = tuple(batch["input_ids"].shape)
    mask, places = batch.get("attention_mask"), batch.get("position_ids")
    real = np.ones(shape, dtype=bool)
    if isinstance(mask, torch.Tensor) and tuple(mask.shape) == shape:
        real = mask.cpu().numpy() != 0
    begins = np.zeros(shape, dtype=bool)
    if isinstance(places, torch.Tensor) and tuple(places.shape) == shape:
        begins = places.cpu().numpy() == 0
    for row in range(shape[0]):
        at = np.flatnonzero(real[row])
        for part in np.split(at, np.flatnonzero(begins[row, at])):
            if len(part):
                yield row * shape[1] + part


def _key(ids: Int[np.ndarray, " l"], counted: Bool[np.ndarray, " l"] | None = None) -> bytes:
    written = ids.astype(np.int32).tobytes() + (b"" if counted is None else counted.tobytes())
    return blake2b(written, digest_size=16).digest()
