"""Which row a person means: an id or the beginning of one, or `file:line` as reports print it."""

from __future__ import annotations

import re

import numpy as np

from s2l.errors import SettingsError, printable, shown
from s2l.types import Rows

HEX = re.compile(r"[0-9a-f]{1,24}")
SHOWN = 3


def find_row(rows: Rows, meant: str) -> int:
    """The row's number in the pool; SettingsError, with what to write instead, where it is none or several."""
    file, _, line = meant.rpartition(":")
    if file and line.isdecimal():
        return _at(rows, file, line, meant)
    if HEX.fullmatch(meant.lower()):
        found = np.flatnonzero(np.char.startswith(rows.ids, meant.lower().encode()))
        if len(found) == 1:
            return int(found[0])
        if len(found):
            some = ", ".join(rows.ids[row].decode() for row in found[:SHOWN])
            raise SettingsError(f"{len(found):,} ids begin with {shown(meant)} ({some}, …): write more of it")
    raise SettingsError(f"no row {shown(meant)} here: write the beginning of its id, or its place, {_places(rows)}")


def _at(rows: Rows, file: str, line: str, meant: str) -> int:
    exact = [number for number, path in enumerate(rows.files) if file in (path, printable(path))]
    files = exact or [number for number, path in enumerate(rows.files) if printable(path).endswith(f"/{file}")]
    if len(files) > 1:
        some = ", ".join(printable(rows.files[number]) for number in files[:SHOWN])
        raise SettingsError(f"several files of the run are called {shown(file)}: {some}: write more of the path")
    found = np.flatnonzero(np.isin(rows.file_N, files) & (rows.line_N == min(int(line[:18]), 2**62)))
    if not len(found):
        raise SettingsError(f"no row at {shown(meant)}: rows stand {_places(rows)}")
    return int(found[0])


def _places(rows: Rows) -> str:
    first, last = (f"{printable(rows.place(row))}" for row in (0, len(rows) - 1))
    return f"from {first} to {last}"
