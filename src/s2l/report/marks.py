"""Losses drawn with characters: a line of bars, and a plot of several curves that can be told apart without colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rich.text import Text

from s2l.theory.sample import evenly

BARS = "▁▂▃▄▅▆▇█"
MOST_BARS = 24
HEIGHT = 10
MOST_WIDTH = 72
AXIS = 8

Mark = tuple[str, str]
"""A character, and its style."""


def sparkline(values: Sequence[float]) -> str:
    """A bar for each value, as high as its share of the highest one; at most 24 of them."""
    picked = np.asarray(values)[evenly(range(len(values)), MOST_BARS)]
    heights = np.ceil(picked / max(float(np.max(values)), 1e-12) * len(BARS)).astype(int)
    return "".join(BARS[min(len(BARS), max(1, height)) - 1] for height in heights.tolist())


def plot(curves: Mapping[Mark, Sequence[float]], steps: Sequence[int], width: int) -> list[Text]:
    """Curves over the same steps; where they meet, the first one's mark is seen."""
    columns = min(width - AXIS, MOST_WIDTH)
    values = [value for curve in curves.values() for value in curve]
    low, high = min(values), max(values)
    cells: list[list[Mark]] = [[(" ", "")] * columns for _ in range(HEIGHT)]
    for mark, curve in reversed(list(curves.items())):
        at = np.linspace(0, len(curve) - 1, columns)
        heights = np.interp(at, np.arange(len(curve)), curve)
        levels = np.rint((heights - low) / (high - low if high > low else 1.0) * (HEIGHT - 1)).astype(int)
        for column, level in enumerate(levels.tolist()):
            cells[HEIGHT - 1 - level][column] = mark
    lines = []
    for number, row in enumerate(cells):
        value = {0: high, HEIGHT // 2: (low * 5 + high * 4) / 9, HEIGHT - 1: low}.get(number)
        label = "" if value is None else f"{value:.{3 if 1e-4 <= abs(value) < 1e5 or not value else 1}g}"
        lines.append(Text.assemble(f"{label:>{AXIS - 2}} ", ("│", "dim"), *row))
    return [*lines, Text(f"{'':{AXIS - 1}}└{'─' * columns}", "dim"), _axis(steps, columns)]


def _axis(steps: Sequence[int], columns: int) -> Text:
    """The first step below the first column, the last below the last."""
    first, last = f"step {steps[0]:,}", f"{steps[-1]:,}"
    if len(steps) == 1:
        return Text(f"{'':{AXIS}}{first}")
    return Text(f"{'':{AXIS}}{first}{last:>{max(1, columns - len(first))}}")


def trained(steps: Sequence[int]) -> int:
    """The first checkpoint of training: the second, where the first was taken before it, and there are more."""
    return int(len(steps) > 1 and steps[0] == 0)
