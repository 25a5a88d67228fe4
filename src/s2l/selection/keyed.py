"""Keyed randomness: a number per (seed, purpose, id), so that order, machine and workers do not matter."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from jaxtyping import Float, Shaped, UInt64

CHUNK = 65_536
"""Ids that are Python objects at a time."""


def keys(seed: int, purpose: str, ids: Shaped[np.ndarray, " N"]) -> UInt64[np.ndarray, " N"]:
    """64 uniform bits per id: blake2b(seed, purpose, id). Another purpose gives independent bits."""
    prefix = blake2b(f"{seed}\0{purpose}\0".encode(), digest_size=8)
    keys_N = np.empty(len(ids), dtype=np.uint64)
    for start in range(0, len(ids), CHUNK):
        out = bytearray()
        for id_ in ids[start : start + CHUNK].tolist():
            h = prefix.copy()
            h.update(id_)
            out += h.digest()
        keys_N[start : start + CHUNK] = np.frombuffer(out, dtype="<u8")
    return keys_N


def rounds(keys_N: UInt64[np.ndarray, " N"], round_: int) -> UInt64[np.ndarray, " N"]:
    """Fresh bits for round `round_`, derived from `keys` by the splitmix64 finaliser (Steele et al. 2014)."""
    golden = 0x9E3779B97F4A7C15
    z = keys_N + np.uint64(golden * (round_ + 1) % 2**64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniform(keys_N: UInt64[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """The keys as float64 in (0, 1): the upper 53 bits, centred so that neither end occurs."""
    return ((keys_N >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
