"""Ids, and losses such as a model has of them while it is trained."""

from hashlib import blake2b

import numpy as np


def make_ids(n):
    return np.array(sorted(blake2b(b"%d" % i, digest_size=12).hexdigest() for i in range(n)), dtype="S24")


def decaying(n, checkpoints=6, seed=0, noise=0.02, spread=0.7):
    """Losses that fall at differing rates from differing heights, as a model's do."""
    rng = np.random.default_rng(seed)
    t = np.linspace(1 / checkpoints, 1, checkpoints)
    start, kept, rate = rng.gamma(4, 0.4, (n, 1)), rng.beta(2, 3, (n, 1)), rng.lognormal(0, spread, (n, 1))
    return np.abs(start * (kept + (1 - kept) * np.exp(-3 * rate * t)) + rng.normal(0, noise, (n, checkpoints)))
