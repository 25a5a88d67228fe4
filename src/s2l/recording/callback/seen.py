"""Losses that a training sees anyway: those of its own forward passes, every row of the pool once an epoch.

A row is known by its tokens and by which of them count, wherever it stands in a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from s2l.data.prepare import IGNORED
from s2l.errors import MachineError, NumericsError, S2LError, SettingsError, printable
from s2l.recording.callback.weights import unwrapped
from s2l.scoring.forward import HeadPath, response_statistics_at
from s2l.scoring.score import per_row
from s2l.types import STATISTICS, Tokens

SURELY = 30
"""Rows of the pool that should have come by before it is said that none does."""
MANY_TIMES, AT_LEAST = 3, 10_000
OWN_ROWS = "record the rows as the trainer has them: TrajectoryRecorder(trainer.train_dataset, …)"
Span = tuple[int, Int[np.ndarray, " r"], Int[np.ndarray, " r"]]
"""A row of the pool that stands in a batch: which, where in the flattened batch its counted tokens are, their ids."""


class Seen:
    """Watches the forward passes of a model that trains, and sums what they say of the pool's rows."""

    def __init__(self, known: Contents, own: PreTrainedModel, path: HeadPath, share: float) -> None:
        self.known = known
        self._own, self._path, self._share = own, path, share
        self._expected = 0.0
        self._rows: list[int] = []
        self._sums: list[Float[np.ndarray, "S B"]] = []
        self.error: S2LError | None = None
        self._states: torch.Tensor | None = None
        self._hooks: list[RemovableHandle] = []
        self._training: object = None

    def watch(self, model: torch.nn.Module, training: object) -> None:
        """Begin: `model` is what the trainer calls, with all that is put around the own one.

        What another training of it left behind, one that was interrupted, ends; `training` tells it from this one.
        """
        for hook in list(unwrapped(model)._forward_hooks.values()):
            other = getattr(hook, "__self__", None)
            if isinstance(other, Seen) and other._training is not training:
                other.close()
        self._training = training
        self._hooks = [unwrapped(model).register_forward_hook(self._after_model, with_kwargs=True)]
        if self._path == "trunk":
            self._hooks.append(self._own.base_model.register_forward_hook(self._after_trunk))

    def close(self) -> None:
        """Watch no more."""
        for hook in self._hooks:
            hook.remove()

    def taken(self) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "S n"]]:
        """The same, which then begins anew; raises what went wrong meanwhile."""
        if self.error is not None:
            raise self.error
        seen = self.so_far()
        self._rows, self._sums = [], []
        return seen

    def go_on(self, rows: Int[np.ndarray, " n"], sums_Sn: Float[np.ndarray, "S n"]) -> None:
        """Take up what was seen before."""
        self._rows, self._sums = rows.tolist(), [sums_Sn]

    def so_far(self) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "S n"]]:
        """What was seen of the epoch, by the first row of the same content."""
        nothing = np.empty((len(STATISTICS), 0))
        return np.array(self._rows, dtype=np.int64), np.concatenate([nothing, *self._sums], axis=1)

    def _after_trunk(self, module: torch.nn.Module, _given: Any, output: Any) -> None:
        self._states = output.last_hidden_state if module.training else None

    def _after_model(self, module: torch.nn.Module, _given: Any, named: Mapping[str, Any], output: Any) -> None:
        states, self._states = self._states, None
        if not module.training or self.error is not None:
            return
        try:
            self._see(named, output, states)
        except S2LError as error:
            self._end(error)
        except Exception as error:  # such as no memory: the training goes on
            self._end(MachineError(printable(f"{type(error).__name__}: {error}".partition("\n")[0])))

    def _end(self, error: S2LError) -> None:
        """Watch no more; the recorder looks for what went wrong behind the step."""
        self.error = error
        self.close()

    @torch.no_grad()
    def _see(self, named: Mapping[str, Any], output: Any, states: torch.Tensor | None) -> None:
        spans = list(self.known.found(named))
        if not spans:
            self._expected += self._share * len(named["input_ids"])
            if self._expected > SURELY:
                raise SettingsError(
                    f"none of the training's rows so far is a row of the pool, token for token; {OWN_ROWS}"
                )
            return
        self._share = 0.0
        if len(self._rows) > MANY_TIMES * len(self.known.first_N) + AT_LEAST:
            raise MachineError("nobody takes what is seen: the training that was watched has ended")
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

    def found(self, batch: Mapping[str, Any]) -> Iterator[Span]:
        """The pool's rows in what a model is given.

        SettingsError where that are no token ids with labels, or a row's tokens are there and others of them count.
        """
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
            elif _key(ids_P[place_l]) in self._ids:
                raise SettingsError(
                    "a row of the pool is in the training with other tokens that count: give the pool the training's "
                    "labels (a collator that masks the padding token masks an end token that is the same)"
                )


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
