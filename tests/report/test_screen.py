"""What a person reads of progress, where there is no terminal."""

import io

import pytest
from rich.console import Console

from s2l.report import screen


@pytest.mark.parametrize(
    ("seconds", "total", "units", "unit", "line"),
    [
        (100, 4_000_000, 1_980_000, "tokens", "work: 2.0M tokens of 4.0M, 1 min 42 s left (19.8k tokens/s)"),
        (100, 10, 10, "cells", "work: 10 cells of 10, 0.0 s left (6 cells/min)"),
        (7200, 120, 6, "cells", "work: 6 cells of 120, 38 h 00 min left (3 cells/h)"),
        (100, None, 50, "rows", "work: 50 rows (30 rows/min)"),
    ],
)
def test_a_line_says_how_far_it_is_and_how_fast(seconds, total, units, unit, line, monkeypatch):
    clock = iter([0.0, 0.0, float(seconds), float(seconds)])
    monkeypatch.setattr(screen.time, "monotonic", lambda: next(clock))
    written = io.StringIO()
    with screen.Screen(Console(file=written)).stage("work", total, unit) as advance:
        advance(units)
    assert written.getvalue().splitlines()[0] == line
