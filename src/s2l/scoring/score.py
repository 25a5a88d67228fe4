"""One checkpoint × many rows → sums per row over response tokens."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from transformers import PreTrainedModel

from s2l.errors import NumericsError
from s2l.progress import Advance
from s2l.scoring import head
from s2l.scoring.batching import Batch, collate, group_by_length
from s2l.scoring.compiled import compiled_update
from s2l.scoring.forward import HeadPath, Update, choose_path, response_statistics
from s2l.scoring.precision import plain_kernels
from s2l.scoring.workers import each_alone
from s2l.types import STATISTICS, Tokens


@dataclass(frozen=True)
class Scorer:
    """How to score: tokens of one forward pass, where, in which precision of matrix products, batches at a time.

    On a CPU each of the `workers` computes its batch alone: small models leave threads that share one batch idle, and
    the sums do not depend on how many workers there are. path: chosen at the first batch if not given.
    compiled: the pass over the logits; eager where that cannot be.
    """

    batch_tokens: int
    device: torch.device
    precision: str
    workers: int = 1
    path: HeadPath | None = None
    compiled: bool = False

    def autocast(self) -> torch.autocast:
        """The context in which the model runs."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16")

    @property
    def round_to(self) -> int:
        """Lengths are padded to multiples of it: libraries for bf16 and GPUs prepare anew for every shape they see."""
        plain = self.path == "alone" or (self.device.type == "cpu" and self.precision == "float32")
        return 1 if plain else 8

    def update(self) -> Update:
        """The pass over the logits."""
        logits = torch.float32 if self.precision == "float32" else torch.bfloat16
        return (compiled_update(self.device.type, logits) if self.compiled else None) or head.update

    def can_compile(self) -> bool:
        """Whether `compiled` is of any use here; tries it."""
        return replace(self, compiled=True).update() is not head.update


def score(
    model: PreTrainedModel,
    tokens: Tokens,
    rows: Int[np.ndarray, " n"],
    scorer: Scorer,
    advance: Advance = lambda _tokens: None,
    place: Callable[[int], str] | None = None,
) -> Float[np.ndarray, "S n"]:
    """Sums of `types.STATISTICS` over the response tokens of each row, float32 from float64 sums.

    A row's sums do not depend on its neighbours or the batch size beyond floating-point noise. `advance` is told the
    tokens of each batch. A sum that is not finite raises NumericsError naming the row by `place`.
    """
    model.eval()
    sums_Sn = np.empty((len(STATISTICS), len(rows)), dtype=np.float32)
    lengths_n = tokens.start_N[rows + 1] - tokens.start_N[rows]
    padded_n = -(-lengths_n // scorer.round_to) * scorer.round_to
    batches = list(group_by_length(padded_n, 1 if scorer.path == "alone" else scorer.batch_tokens))
    path = scorer.path or choose_path(model, collate(tokens, rows[batches[0]]).to(scorer.device))
    update = scorer.update()

    def read(members: Int[np.ndarray, " B"]) -> Batch:
        return collate(tokens, rows[members], scorer.round_to)

    def values_of(batch: Batch) -> Float[torch.Tensor, "S R"]:
        with torch.inference_mode(), scorer.autocast():
            return response_statistics(model, batch, path, update)

    with closing(_sums(read, values_of, batches, scorer)) as sums:
        for members, sums_SB in zip(batches, sums, strict=True):
            if not np.isfinite(sums_SB).all():
                bad = int(rows[members[np.flatnonzero(~np.isfinite(sums_SB).all(axis=0))[0]]])
                where = place(bad) if place else tokens.ids[bad].decode()
                raise NumericsError(
                    f"{where}: the proxy's loss is not a finite number; nothing was imputed and the run stopped: "
                    "a lower --learning-rate or --precision float32 trains a sound proxy"
                )
            sums_Sn[:, members] = sums_SB
            advance(int(lengths_n[members].sum()))
    return sums_Sn


def _sums(
    read: Callable[[Int[np.ndarray, " _"]], Batch],
    values_of: Callable[[Batch], Float[torch.Tensor, "S _"]],
    batches: list[Int[np.ndarray, " _"]],
    scorer: Scorer,
) -> Generator[Float[np.ndarray, "S _"]]:
    """Sums per row of every batch, in order: on a CPU by workers of one thread each, else reading ahead of the GPU."""
    if scorer.device.type != "cpu":
        yield from in_turn(map(read, batches), values_of, scorer.device)
        return

    def work(members: Int[np.ndarray, " B"]) -> Float[np.ndarray, "S B"]:
        batch = read(members)
        return per_row(values_of(batch), batch.count_B)

    with plain_kernels(scorer.device.type, scorer.precision):
        yield from each_alone(work, batches, scorer.workers)


def in_turn(
    batches: Iterator[Batch], values_of: Callable[[Batch], Float[torch.Tensor, "S _"]], device: torch.device
) -> Iterator[Float[np.ndarray, "S _"]]:
    """A batch is read and sent while the one before it is computed: its values are waited for only then."""
    waiting: tuple[Float[torch.Tensor, "S R"], Batch] | None = None
    for batch in batches:
        values_SR = values_of(batch.to(device))
        if waiting is not None:
            yield per_row(waiting[0], waiting[1].count_B)
        waiting = values_SR, batch
    if waiting is not None:
        yield per_row(waiting[0], waiting[1].count_B)


def per_row(values_SR: Float[torch.Tensor, "S R"], count_B: Int[np.ndarray, " B"]) -> Float[np.ndarray, "S B"]:
    """Sums over each row's tokens, float64."""
    starts_B = np.concatenate([[0], np.cumsum(count_B)[:-1]])
    return np.add.reduceat(values_SR.cpu().numpy().astype(np.float64), starts_B, axis=1)
