"""Means and 95 % t-intervals over seeds, and differences of two methods paired by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import cos, fsum, pi, sin, sqrt, tan

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds. low, high: its 95 % t-interval, None where one seed alone tells nothing of the spread.

    seeds: that are in it. missing: seeds that should be, and are not.
    """

    mean: float
    low: float | None
    high: float | None
    deviation: float | None
    seeds: tuple[int, ...]
    missing: tuple[int, ...] = ()


def estimate(by_seed: Mapping[int, float], wanted: Sequence[int]) -> Estimate | None:
    """Of the mean of which the seeds' values are draws: mean ± t · s / √n. None where there is no value.

    A spread of zero gives an interval of no width, which is what t says and no more than that.
    """
    seeds = tuple(seed for seed in wanted if seed in by_seed)
    missing = tuple(seed for seed in wanted if seed not in by_seed)
    n = len(seeds)
    if n == 0:
        return None
    mean = fsum(by_seed[seed] for seed in seeds) / n
    if n == 1:
        return Estimate(mean, None, None, None, seeds, missing)
    deviation = sqrt(fsum((by_seed[seed] - mean) ** 2 for seed in seeds) / (n - 1))
    reach = student(n - 1) * deviation / sqrt(n)
    return Estimate(mean, mean - reach, mean + reach, deviation, seeds, missing)


def paired(ours: Mapping[int, float], theirs: Mapping[int, float], wanted: Sequence[int]) -> Estimate | None:
    """Ours less theirs, seed by seed; a seed that one of them lacks is missing."""
    return estimate({seed: value - theirs[seed] for seed, value in ours.items() if seed in theirs}, wanted)


def student(freedom: int, level: float = LEVEL) -> float:
    """The t with `level` of Student's distribution between −t and t, by bisection."""
    low, high = 0.0, pi / 2  # of θ = atan(t / √freedom)
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if between(middle, freedom) < level else (low, middle)
    return tan(low) * sqrt(freedom)


def between(theta: float, freedom: int) -> float:
    """Probability of |t| ≤ √freedom · tan θ, a finite sum (Abramowitz & Stegun 1964, 26.7.3 and 26.7.4)."""
    term, total, first = 1.0, 0.0, freedom % 2
    if first and freedom > 1:
        term = cos(theta)
    for power in range(first, freedom - 1, 2):
        total += term
        term *= cos(theta) ** 2 * (power + 1) / (power + 2)
    return 2 / pi * (theta + sin(theta) * total) if first else sin(theta) * total
