"""Features on the grid of 2⁻¹² nats: whole numbers, so that distances, sums and their order are exact anywhere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, Shaped

from s2l.errors import NumericsError
from s2l.selection.chunks import over_chunks
from s2l.trajectories.arrays import empty

RESOLUTION = 2.0**-12
DIAMETER = 2.0**12
"""Trajectories spread wider than this (Euclidean) would take their squared distances beyond exact arithmetic."""


@runtime_checkable
class Features(Protocol):
    """Rows of features, read a slice at a time: an array in memory or on disk, or values made when asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""
        ...

    def __getitem__(self, rows: slice, /) -> Float[np.ndarray, "n D"]:
        """The features of these rows."""
        ...


@dataclass(frozen=True)
class Points:
    """Rows in whole grid units of 2⁻¹² above `origin_D`, the lowest values.

    grid_ND: uint16 where all lie within 16 nats, else float32, which holds them exactly as well.
    spread_D: the highest values. norms: sum of all squared lengths.
    """

    grid_ND: Shaped[np.ndarray, "N D"]
    origin_D: Float[np.ndarray, " D"]
    spread_D: Float[np.ndarray, " D"]
    norms: int

    def __len__(self) -> int:
        return len(self.grid_ND)

    def rows(self, which: slice | Int[np.ndarray, " n"]) -> Float[np.ndarray, "n D"]:
        """The coordinates of these rows, float64."""
        return self.grid_ND[which].astype(np.float64)


def to_grid(
    features_ND: Features,
    ids: Shaped[np.ndarray, " N"],
    initial_KD: Float[np.ndarray, "K D"] | None = None,
    folder: Path | None = None,
) -> Points:
    """Features rounded to the grid; raises NumericsError naming what cannot be.

    folder: where the grid goes if it is larger than memory should hold.
    """

    def ends(rows: slice) -> tuple[Float[np.ndarray, " D"], Float[np.ndarray, " D"]]:
        part_nD = features_ND[rows]
        if not (finite_n := np.isfinite(part_nD).all(axis=1)).all():
            row = ids[rows][~finite_n][0].decode()
            raise NumericsError(f"the loss trajectory of row {row} is not finite: cannot cluster it")
        return part_nD.min(axis=0).astype(np.float64), part_nD.max(axis=0).astype(np.float64)

    n_rows, n_features = features_ND.shape
    extremes = [end_D for pair in over_chunks(ends, n_rows) for end_D in pair]
    extremes += [] if initial_KD is None else list(initial_KD)
    lowest_D, highest_D = np.min(extremes, axis=0), np.max(extremes, axis=0)
    if (diameter := math.dist(highest_D, lowest_D)) > DIAMETER:
        raise NumericsError(
            f"loss trajectories lie {diameter:.4g} apart, beyond the {DIAMETER:.0f} that exact distances reach: "
            "look at the losses, the proxy's training diverged"
        )
    origin_D = np.rint(lowest_D / RESOLUTION)
    spread_D = np.rint(highest_D / RESOLUTION) - origin_D
    dtype = np.uint16 if spread_D.max() < 2**16 else np.float32
    grid_ND = empty((n_rows, n_features), dtype, folder)

    def fill(rows: slice) -> int:
        part_nD = np.rint(features_ND[rows].astype(np.float64) / RESOLUTION) - origin_D
        grid_ND[rows] = part_nD
        return int(np.square(part_nD).sum(axis=1).astype(np.int64).sum())

    return Points(grid_ND, origin_D, spread_D, sum(over_chunks(fill, n_rows)))
