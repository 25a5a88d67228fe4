"""Threads that each run a share of the batch, on a view of the model of their own: same weights, own gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from copy import deepcopy
from typing import TypeVar

import torch
from transformers import PreTrainedModel

from s2l.proxy.loss import gradient_of

SMALL_PARAMETERS = 2**24
ROWS_PER_WORKER = 8

Share = TypeVar("Share")


def workers_for(model: PreTrainedModel, threads: int, batch_size: int) -> int:
    """How many micro-batches to run side by side on a CPU: small models leave threads that share one batch idle.

    One for a model that draws random numbers (dropout): in which order threads draw is not repeatable.
    """
    if model.num_parameters() > SMALL_PARAMETERS or draws(model):
        return 1
    return max(1, min(threads, batch_size // ROWS_PER_WORKER))


@torch.no_grad()
def draws(model: PreTrainedModel) -> bool:
    """Whether a training pass of the model draws random numbers."""
    was_training = model.training
    with torch.random.fork_rng(devices=[]):
        before = torch.get_rng_state()
        model.train()(input_ids=torch.zeros(1, 2, dtype=torch.int64), use_cache=False)
        moved = not torch.equal(before, torch.get_rng_state())
    model.train(was_training)
    return moved


def view_of(model: PreTrainedModel) -> PreTrainedModel:
    """The same weights, not a copy of them, behind modules and gradients of their own."""
    shared: dict[int, torch.Tensor] = {id(buffer): buffer for buffer in model.buffers()}
    shared |= {id(own): torch.nn.Parameter(own.detach(), own.requires_grad) for own in model.parameters()}
    return deepcopy(model, shared)


class Workers:
    """As many views of `model` as threads to run them; the first is the model itself."""

    def __init__(self, model: PreTrainedModel, count: int, threads: int) -> None:
        self.views = [model, *(view_of(model) for _ in range(count - 1))]
        each = max(1, threads // count)
        self._pool = ThreadPoolExecutor(count, "trainer", torch.set_num_threads, (each,)) if count > 1 else None

    def __len__(self) -> int:
        return len(self.views)

    def losses(
        self, job: Callable[[PreTrainedModel, Share], torch.Tensor], shares: Sequence[Share]
    ) -> list[torch.Tensor]:
        """`job` of every share; the gradients that it leaves in its view are summed in the model's, in order."""
        if self._pool is None:
            return [job(self.views[0], share) for share in shares]
        futures = [self._pool.submit(job, view, share) for view, share in zip(self.views, shares, strict=True)]
        wait(futures)
        losses = [future.result() for future in futures]
        self._sum_gradients()
        return losses

    def drop_gradients(self) -> None:
        """Forget the gradients of all views."""
        for view in self.views:
            view.zero_grad(set_to_none=True)

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            torch.set_num_threads(torch.get_num_threads())  # MKL has one setting for all threads

    @torch.no_grad()
    def _sum_gradients(self) -> None:
        own = list(self.views[0].parameters())
        for view in self.views[1:]:
            for parameter, twin in zip(own, view.parameters(), strict=True):
                if twin.grad is not None:
                    gradient_of(parameter).add_(twin.grad)
            view.zero_grad(set_to_none=True)
