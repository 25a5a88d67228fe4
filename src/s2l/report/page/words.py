"""A user's text made fit for the page: what cannot be seen is spelled out, what is long is cut. Numbers made short."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from s2l.errors import printable

NAME_WIDTH = 80
PLAIN = re.compile(r"[^\n\t\x20-\x7e]+")


def legible(text: str) -> str:
    """`text` with its line breaks and tabs, every other control, format or unassigned character spelled out."""
    return PLAIN.sub(lambda found: printable(found[0]), text)


def name_of(text: str) -> str:
    """A name of the user's on one line, cut in the middle beyond 80 characters; (empty) where there is nothing."""
    half = NAME_WIDTH // 2
    cut = text if len(text) <= NAME_WIDTH else f"{text[:half]}…{text[-half:]}"
    return printable(cut).strip() or "(empty)"


def place_of(place: str) -> str:
    """`file:line` on one line, without the folders that the file is in."""
    return name_of(place.replace("\\", "/").rpartition("/")[2])


def short(values: Iterable[Any] | np.ndarray, digits: int = 3) -> list[float]:
    """Numbers rounded for the page."""
    return [round(float(value), digits) + 0.0 for value in values]
