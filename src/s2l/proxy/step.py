"""One step's loss and gradients: its global batch dealt over ranks and workers, each share cut into micro-batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b

import numpy as np
import torch
from jaxtyping import Float, Int
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from s2l.errors import NumericsError
from s2l.proxy.loss import backward
from s2l.proxy.memory import free_memory, is_out_of_memory
from s2l.proxy.plan import Plan, global_batches
from s2l.proxy.ranks import GoneError, Ranks
from s2l.proxy.shares import cut, deal
from s2l.proxy.workers import Workers
from s2l.scoring.batching import Batch, collate
from s2l.scoring.forward import HeadPath, choose_path, response_logits
from s2l.scoring.setup import checked_path
from s2l.types import Tokens

LOOKED_AT = 512
"""Tokens whose logits are made at once in search of one that is not finite."""


class NoMemoryError(Exception):
    """A rank had no memory for a micro-batch of the step."""


class Stepper:
    """Computes the gradients of steps: the loss is Σ NLL / Σ response tokens of the global batch, however it is shared.

    The first rank leads; the others follow it until it finishes.
    """

    def __init__(self, model: PreTrainedModel, tokens: Tokens, plan: Plan, ranks: Ranks) -> None:
        self.model = model.train()
        self.tokens = tokens
        self.plan = plan
        self.ranks = ranks
        self.batches = global_batches(tokens.ids, plan)
        self.lengths_N = tokens.lengths
        self.workers = Workers(model, plan.workers, plan.threads)
        self._path: HeadPath | None = None

    def tokens_from(self, step: int) -> int:
        """Tokens of all steps from `step` on."""
        return int(sum(self.lengths_N[rows].sum() for rows in self.batches[step:]))

    def lead(self, step: int, batch_tokens: int) -> Float[torch.Tensor, ""]:
        """The loss of `step` (from 0); its gradients are added up in the model's `.grad`.

        Raises NoMemoryError, and leaves no gradients, where a micro-batch of `batch_tokens` was too large for a rank.
        """
        self.ranks.tell((step, batch_tokens))
        return self._gradients(step, batch_tokens)

    def follow(self) -> None:
        """Work on the steps that the first rank leads, until it finishes."""
        while (order := self.ranks.tell()) is not None:
            try:
                self._gradients(*order)
            except NoMemoryError:
                continue
            self.workers.drop_gradients()

    def finish(self) -> None:
        """No more steps: the ranks that follow are free."""
        if self.ranks.leads:
            with suppress(GoneError):
                self.ranks.tell(None)

    def close(self) -> None:
        """End the workers."""
        self.workers.close()

    @torch.no_grad()
    def first_unsound(self, step: int, batch_tokens: int) -> int | None:
        """A row of the step whose loss is not finite; None where only the sum is not."""
        for batch in (batch for rows in self._dealt(step) for batch in self._micro_batches(rows, batch_tokens)):
            row_R = np.repeat(batch.rows_B, batch.count_B)
            start = 0
            for logits_rV, target_r in response_logits(self.model, batch, self._path or "whole", LOOKED_AT):
                unsound_r = ~cross_entropy(logits_rV, target_r, reduction="none").isfinite().cpu().numpy()
                if unsound_r.any():
                    return int(row_R[start + unsound_r.argmax()])
                start += len(target_r)
        return None

    def _gradients(self, step: int, batch_tokens: int) -> Float[torch.Tensor, ""]:
        """The loss of the step on every rank, the sum of the gradients on the first."""
        self.ranks.give_weights(self.model)
        loss: Float[torch.Tensor, ""] | None = None
        trouble: Exception | None = None
        try:
            loss = self._own_loss(step, batch_tokens)
        except Exception as error:
            trouble = None if is_out_of_memory(error) else error
        total, failures = self.ranks.total(loss)
        if trouble is not None:
            raise trouble
        if failures:
            self.workers.drop_gradients()
            free_memory()
            raise NoMemoryError
        self.ranks.sum_gradients(self.model)
        return total

    def _own_loss(self, step: int, batch_tokens: int) -> Float[torch.Tensor, ""]:
        """What this rank's rows add to the loss, and to the gradients; random numbers hang on step and rank alone."""
        seed_all(self.model.device, seed_of(self.plan.seed, step, self.ranks.rank))
        scale = 1 / int(self.tokens.response_lengths[self.batches[step]].sum())
        count = len(self.workers)
        mine = self._dealt(step)[self.ranks.rank * count :][:count]
        if self._path is None:
            self._path = self._found_path(step)
        path = self._path

        def loss_of(view: PreTrainedModel, rows: Int[np.ndarray, " b"]) -> Float[torch.Tensor, ""]:
            loss = torch.zeros((), device=view.device)
            for batch in self._micro_batches(rows, batch_tokens):
                loss += backward(view, batch, path, scale, self.plan.precision)
            return loss

        return torch.stack(self.workers.losses(loss_of, mine)).sum()

    def _found_path(self, step: int) -> HeadPath:
        """The path by which rows in a batch have the losses each has alone; by its looks where that cannot be tried."""
        try:
            return checked_path(self.model, self.tokens, self.model.device)
        except Exception as error:
            if not (is_out_of_memory(error) or isinstance(error, NumericsError)):
                raise
            return choose_path(self.model, collate(self.tokens, self.batches[step][:1]).to(self.model.device))
        finally:
            self.model.train()

    def _dealt(self, step: int) -> list[Int[np.ndarray, " _"]]:
        """The step's rows, dealt to every worker of every rank."""
        rows_B = self.batches[step]
        lengths_B, responses_B = self.lengths_N[rows_B], self.tokens.response_lengths[rows_B]
        return [rows_B[share] for share in deal(lengths_B, responses_B, self.ranks.world * len(self.workers))]

    def _micro_batches(self, rows: Int[np.ndarray, " b"], batch_tokens: int) -> Iterator[Batch]:
        for part in cut(self.lengths_N[rows], 1 if self._path == "alone" else batch_tokens):
            yield collate(self.tokens, rows[part]).to(self.model.device)


def seed_of(seed: int, step: int, rank: int) -> int:
    """The seed of a step's own random numbers, such as dropout's, on one rank."""
    return int.from_bytes(blake2b(f"{seed}\0train/step-{step}\0{rank}".encode(), digest_size=8).digest())


def seed_all(device: torch.device, seed: int) -> None:
    """`torch.manual_seed` for the devices in use: it spends a millisecond on those that are not there."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)
