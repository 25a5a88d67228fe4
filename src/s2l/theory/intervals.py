"""95 % intervals: of a figure over resampled groups, of what a further random draw gives, of a rank correlation."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from s2l.selection import keyed

Interval = tuple[float, float]
REPLICATES = 1000
Z = 1.959963984540054
"""Standard deviations on either side of the mean that hold 95 % of a normal distribution."""


def told(interval: Interval, number: float, *, above: str, below: str, neither: str) -> str:
    """The saying that fits: the interval lies above the number, below it, or holds it."""
    low, high = interval
    return above if low > number else below if high < number else neither


def resampled(n: int, seed: int, purpose: str) -> Int[np.ndarray, "replicates n"]:
    """The bootstrap: how often each of n things is drawn when n are drawn with replacement, many times over."""
    keys_n = keyed.keys(seed, purpose, np.array([b"%d" % i for i in range(n)]))
    drawn = ((keyed.uniform(keyed.rounds(keys_n, r)) * n).astype(np.int64) for r in range(REPLICATES))
    return np.stack([np.bincount(picked, minlength=n) for picked in drawn])


def middle(values_R: Float[np.ndarray, " R"]) -> Interval:
    """What holds the middle 95 % of the values, those that are no number left out."""
    low, high = np.nanquantile(values_R, [0.025, 0.975])
    return float(low), float(high)


def of_next(values_n: Float[np.ndarray, " n"]) -> Interval:
    """What holds the next of values like these 95 times of 100: mean ± t · s · √(1 + 1/n)."""
    n = len(values_n)
    reach = student(n - 1) * float(values_n.std(ddof=1)) * (1 + 1 / n) ** 0.5
    return float(values_n.mean()) - reach, float(values_n.mean()) + reach


def of_mean(values_n: Float[np.ndarray, " n"]) -> Interval:
    """What holds the mean of which these are draws: mean ± t · s / √n."""
    n = len(values_n)
    reach = student(n - 1) * float(values_n.std(ddof=1)) / n**0.5
    return float(values_n.mean()) - reach, float(values_n.mean()) + reach


def of_rank_correlation(correlation: float, n: int) -> Interval:
    """Of Spearman's coefficient over n rows: Fisher's z with variance 1.06 / (n − 3) (Fieller et al. 1957)."""
    if abs(correlation) > 1 - 1e-12:
        return correlation, correlation
    reach = Z * (1.06 / (n - 3)) ** 0.5
    low, high = np.tanh(np.arctanh(correlation) + np.array([-reach, reach]))
    return float(low), float(high)


def student(freedom: int) -> float:
    """The 97.5 % point of Student's t, to 0.2 % from 5 degrees of freedom on (Abramowitz & Stegun 1964, 26.7.5)."""
    return (
        Z
        + (Z**3 + Z) / (4 * freedom)
        + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * freedom**2)
        + (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / (384 * freedom**3)
    )
