"""Batches side by side on a CPU, each computed by one thread: small models leave threads that share a batch idle."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int

from s2l.progress import Advance
from s2l.scoring.batching import Batch, collate, group_by_length
from s2l.scoring.precision import plain_kernels
from s2l.types import Tokens

Item = TypeVar("Item")
Result = TypeVar("Result")


def each_alone(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Generator[Result]:
    """`work` on every item, in order, by so many workers of one thread each: results do not hang on their number."""
    pool = ThreadPoolExecutor(workers, "scorer", initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)
        # MKL has one setting for all threads, which the workers changed.
        torch.set_num_threads(torch.get_num_threads())


def by_batch(
    compute: Callable[[Batch], Float[torch.Tensor, "B ..."]],
    tokens: Tokens,
    rows: Int[np.ndarray, " n"],
    batch_tokens: int,
    device: torch.device,
    workers: int = 1,
    advance: Advance = lambda _tokens: None,
) -> Float[np.ndarray, "n ..."]:
    """What `compute` says of each row, from batches of rows of similar length; float32 kernels, workers on a CPU."""
    lengths_n = tokens.lengths[rows]
    batches = list(group_by_length(lengths_n, batch_tokens))

    def work(members: Int[np.ndarray, " B"]) -> np.ndarray:
        found: np.ndarray = compute(collate(tokens, rows[members]).to(device)).cpu().numpy()
        return found

    with plain_kernels(device.type, "float32"):
        results = each_alone(work, batches, workers) if device.type == "cpu" else (work(m) for m in batches)
        with closing(results):
            pieces = []
            for members, piece in zip(batches, results, strict=True):
                pieces.append(piece)
                advance(int(lengths_n[members].sum()))
    values = np.concatenate(pieces)
    found = np.empty_like(values)
    found[np.concatenate(batches)] = values
    return found
