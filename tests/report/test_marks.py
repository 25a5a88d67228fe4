"""Curves of characters stand where their values are, and can be told apart without colour."""

import pytest
from rich.cells import cell_len

from s2l.report.marks import HEIGHT, MOST_BARS, plot, sparkline, trained

ROW, POOL = ("●", "bold"), ("·", "dim")


def marks(lines, mark):
    """(column, row from below) of every place with this mark."""
    rows = [line.plain.partition("│")[2] for line in lines[:HEIGHT]]
    return {(x, HEIGHT - 1 - y) for y, row in enumerate(rows) for x, c in enumerate(row) if c == mark}


def test_bars_are_as_high_as_their_share_of_the_highest():
    assert sparkline([8, 7, 6, 5, 4, 3, 2, 1]) == "█▇▆▅▄▃▂▁"
    assert sparkline([2.0, 2.0, 2.0]) == "███"
    assert sparkline([4.0, 0.0]) == "█▁"
    assert sparkline([0.0, 0.0]) == "▁▁"
    assert len(sparkline(range(1, 1000))) == MOST_BARS


def test_a_curve_begins_and_ends_where_its_values_do():
    lines = plot({ROW: [4.0, 1.0], POOL: [2.5, 2.5]}, [10, 20], 40)
    row, pool = marks(lines, "●"), marks(lines, "·")
    assert {y for x, y in row if x == 0} == {HEIGHT - 1}
    assert {y for x, y in row if x == 31} == {0}
    assert len({y for _, y in pool}) == 1
    assert lines[0].plain.split()[0] == "4"
    assert lines[HEIGHT - 1].plain.split()[0] == "1"
    assert lines[-1].plain.split() == ["step", "10", "20"]


def test_where_curves_meet_the_first_is_seen():
    lines = plot({ROW: [1.0, 2.0], POOL: [1.0, 2.0]}, [1, 2], 40)
    assert marks(lines, "●")
    assert not marks(lines, "·")


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("values", [[1.0], [0.0, 0.0], [3.0, 3.0, 3.0], [*range(1000)], [1e-9, 1e9]])
def test_any_number_of_checkpoints_fits_any_width(values, width):
    lines = plot({ROW: values}, [*range(len(values))], width)
    assert all(cell_len(line.plain) <= width for line in lines)
    assert len({x for x, _ in marks(lines, "●")}) == min(width - 8, 72)


def test_a_checkpoint_before_training_is_left_out_where_there_are_others():
    assert (trained([0, 5]), trained([5, 10]), trained([0])) == (1, 0, 0)
