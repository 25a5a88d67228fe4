"""How far a subset's mean gradient is from the pool's, for S2L's subset and for random ones of its size; exact."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from math import sqrt
from threading import Lock

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from transformers import PreTrainedModel

from s2l.errors import NumericsError
from s2l.progress import Advance
from s2l.proxy.loss import backward
from s2l.proxy.shares import deal
from s2l.proxy.workers import Workers, workers_for
from s2l.scoring.batching import collate, group_by_length
from s2l.scoring.flow import tokens_of_a_pass
from s2l.scoring.forward import HeadPath
from s2l.scoring.precision import plain_kernels
from s2l.scoring.setup import checked_path
from s2l.theory.intervals import Interval, of_next, told
from s2l.types import Tokens

Gradient = list[torch.Tensor]


@dataclass(frozen=True)
class Estimate:
    """Of the pool's mean gradient g by another, ĝ. error: ‖ĝ − g‖ / ‖g‖. cosine: of the two."""

    error: float
    cosine: float


@dataclass(frozen=True)
class MeanGradient:
    """Estimates of the pool's mean gradient by means over a subset's rows; JSON-able.

    norm: of the pool's. unweighted: every chosen row counts alike, as in training. weighted: as many as its cluster has
    rows for each row drawn from it. unseen: rows of the pool whose cluster has no chosen row. expected: what holds the
    error of a further random draw 95 times of 100.
    """

    budget: str
    rows: int
    pool: int
    norm: float
    unweighted: Estimate
    weighted: Estimate
    unseen: int
    random: tuple[Estimate, ...]
    random_mean: float
    expected: Interval

    def rank(self, estimate: Estimate) -> int:
        """Its place among the random draws, the smallest error first, from 1."""
        return 1 + sum(draw.error < estimate.error for draw in self.random)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What it means, for a person."""
        return (
            self._sentence("S2L's subset, every row alike as training sees it,", self.unweighted),
            self._sentence("S2L's subset, weighted by cluster,", self.weighted),
        )

    def _sentence(self, what: str, estimate: Estimate) -> str:
        low, high = self.expected
        verdict = told(
            self.expected,
            estimate.error,
            above="is nearer to the pool's mean gradient than a random one of its size",
            below="is farther from the pool's mean gradient than a random one of its size",
            neither="is neither nearer to the pool's mean gradient than a random one of its size nor farther from it",
        )
        return (
            f"{what} {verdict}: error {estimate.error:z.3f}, random {self.random_mean:z.3f} "
            f"({low:z.3f} to {high:z.3f}); rank {self.rank(estimate)} of {len(self.random) + 1}, "
            f"cosine {estimate.cosine:z.3f}."
        )


@dataclass(frozen=True)
class Subset:
    """A pool, and the rows of it that were chosen, in id order. drawn_DN: as many rows, at random, several times."""

    budget: str
    cluster_N: Int[np.ndarray, " N"]
    kept_N: Bool[np.ndarray, " N"]
    drawn_DN: Bool[np.ndarray, "D N"]

    @property
    def unweighted_N(self) -> Float[np.ndarray, " N"]:
        """Weights that add up to 1: the chosen rows alike."""
        unweighted_N: Float[np.ndarray, " N"] = self.kept_N / self.kept_N.sum()
        return unweighted_N

    @property
    def weighted_N(self) -> Float[np.ndarray, " N"]:
        """Weights that add up to 1: each chosen row by its cluster's rows over those chosen from it."""
        sizes_K, chosen_K = np.bincount(self.cluster_N), np.bincount(self.cluster_N, weights=self.kept_N)
        weight_N = self.kept_N * (sizes_K / np.maximum(1, chosen_K))[self.cluster_N]
        weighted_N: Float[np.ndarray, " N"] = weight_N / weight_N.sum()
        return weighted_N

    @property
    def unseen(self) -> int:
        """Rows whose cluster has no chosen row."""
        return int((np.bincount(self.cluster_N, weights=self.kept_N)[self.cluster_N] == 0).sum())

    @property
    def weights(self) -> list[Float[np.ndarray, " N"]]:
        """Unweighted, weighted, and those of the draws."""
        return [self.unweighted_N, self.weighted_N, *(drawn_N / drawn_N.sum() for drawn_N in self.drawn_DN)]


def mean_gradients(
    model: PreTrainedModel,
    tokens: Tokens,
    rows: Int[np.ndarray, " N"],
    subsets: Sequence[Subset],
    batch_tokens: int,
    threads: int = 1,
    advance: Advance = lambda _tokens: None,
) -> tuple[MeanGradient, ...]:
    """Of the pool `rows` of `tokens`, for each subset of it: two passes of gradients, and one for each random draw.

    Holds two gradients beside the model's own, and on a CPU one for each of a small model's workers.
    """
    path = checked_path(model, tokens, model.device)
    on_cpu = model.device.type == "cpu"
    workers = Workers(model, workers_for(model, threads, len(rows)) if on_cpu else 1, threads)
    at_once = 1 if path == "alone" else tokens_of_a_pass(model, batch_tokens)

    def gradient(weight_N: Float[np.ndarray, " N"]) -> Gradient:
        used = np.flatnonzero(weight_N)
        return weighted_gradient(workers, tokens, rows[used], weight_N[used], at_once, path, advance)

    with closing(workers):
        of_pool = gradient(np.full(len(rows), 1 / len(rows)))
        return tuple(_of_subset(subset, gradient, of_pool) for subset in subsets)


def _of_subset(
    subset: Subset, gradient: Callable[[Float[np.ndarray, " N"]], Gradient], of_pool: Gradient
) -> MeanGradient:
    unweighted, weighted, *random = (compared(gradient(weight_N), of_pool) for weight_N in subset.weights)
    errors = np.array([estimate.error for estimate in random])
    return MeanGradient(
        budget=subset.budget,
        rows=int(subset.kept_N.sum()),
        pool=len(subset.kept_N),
        norm=norm_of(of_pool),
        unweighted=unweighted,
        weighted=weighted,
        unseen=subset.unseen,
        random=tuple(random),
        random_mean=float(errors.mean()),
        expected=of_next(errors),
    )


def weighted_gradient(
    workers: Workers,
    tokens: Tokens,
    rows: Int[np.ndarray, " n"],
    weight_n: Float[np.ndarray, " n"],
    batch_tokens: int,
    path: HeadPath,
    advance: Advance = lambda _tokens: None,
) -> Gradient:
    """Σ weight · ∇ of the row's mean response loss, by every parameter, in eval mode; NumericsError if not finite."""
    lengths_n, lock = tokens.lengths[rows], Lock()

    def add(view: PreTrainedModel, share: Int[np.ndarray, " m"]) -> torch.Tensor:
        view.eval()
        loss = torch.zeros((), device=view.device)
        for members in group_by_length(lengths_n[share], batch_tokens):
            mine = share[members]
            batch = collate(tokens, rows[mine]).to(view.device)
            weight_R = torch.as_tensor(np.repeat(weight_n[mine] / batch.count_B, batch.count_B)).float()
            loss += backward(view, batch, path, weight_R.to(view.device), "float32")
            with lock:
                advance(int(lengths_n[mine].sum()))
        return loss

    model = workers.views[0]
    workers.drop_gradients()
    with plain_kernels(model.device.type, "float32"):
        workers.losses(add, deal(lengths_n, tokens.response_lengths[rows], len(workers)))
    gradient = [torch.zeros_like(own) if own.grad is None else own.grad for own in model.parameters()]
    workers.drop_gradients()
    if not all(part.isfinite().all() for part in gradient):
        raise NumericsError("a gradient is not a finite number; the model has diverged")
    return gradient


def compared(estimate: Gradient, truth: Gradient) -> Estimate:
    """How far the one is from the other."""
    pairs = list(zip(estimate, truth, strict=True))
    off = sqrt(total((a - b).square() for a, b in pairs))
    product = total(a * b for a, b in pairs)
    return Estimate(error=off / norm_of(truth), cosine=product / (norm_of(estimate) * norm_of(truth)))


def norm_of(gradient: Gradient) -> float:
    """‖·‖₂ over all parameters."""
    return sqrt(total(part.square() for part in gradient))


def total(values: Iterable[torch.Tensor]) -> float:
    """The sum of all elements, in float64."""
    return sum(float(value.sum(dtype=torch.float64)) for value in values)
