"""Directions of vectors on a grid, so that their products are whole numbers that float32 holds exactly.

Rounded to multiples of 2⁻¹¹, the products of two unit vectors, and all partial sums of them, stay below 2²⁴ grid units:
neither BLAS nor threads nor the order of summation can change one.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from s2l.errors import NumericsError
from s2l.selection.room import require_room

UNITS = 2**11
LARGEST = 2**14
"""Dimensions up to which rounding cannot lift a norm so far that products leave float32's whole numbers."""
AT_ONCE = 8192


def directions(vectors_ND: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
    """Each vector over its norm, in whole grid units, float32; zeros stay zeros.

    4 N D bytes beside the vectors, and 32 AT_ONCE D on the way. Raises NumericsError for a vector that is not finite,
    MachineError where there is no room.
    """
    n_rows, dimensions = vectors_ND.shape
    assert dimensions <= LARGEST
    require_room(f"directions in {dimensions:,} dimensions", n_rows, lambda n: (4 * n + 32 * AT_ONCE) * dimensions)
    units_ND = np.empty(vectors_ND.shape, dtype=np.float32)
    for start in range(0, n_rows, AT_ONCE):
        part = slice(start, start + AT_ONCE)
        vectors_nD = vectors_ND[part].astype(np.float64)
        if not np.isfinite(vectors_nD).all():
            raise NumericsError("an embedding is not a finite number; --precision float32 may help")
        norm_n1 = np.sqrt(np.square(vectors_nD).sum(axis=1, keepdims=True))
        units_ND[part] = np.rint(vectors_nD / np.where(norm_n1 > 0, norm_n1, 1) * UNITS)
    return units_ND
