"""What a person writes as a budget, and the rows it means."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2l.errors import SettingsError
from s2l.selection.budget import Budget, parse_budget, resolve


@pytest.mark.parametrize(
    ("written", "kind", "amount", "text", "slug"),
    [
        ("330", "rows", 330, "330", "330"),
        (330, "rows", 330, "330", "330"),
        (np.int64(330), "rows", 330, "330", "330"),
        ("30k", "rows", 30_000, "30000", "30000"),
        ("1.5k", "rows", 1500, "1500", "1500"),
        ("11%", "share", Fraction(11, 100), "11%", "11pct"),
        (" 0.5% ", "share", Fraction(1, 200), "0.5%", "0.5pct"),
        ("100%", "share", 1, "100%", "100pct"),
        (0.11, "share", Fraction(11, 100), "11%", "11pct"),
        (np.float64(0.11), "share", Fraction(11, 100), "11%", "11pct"),
        ("2M-tokens", "tokens", 2_000_000, "2M-tokens", "2M-tokens"),
        ("1.5M-tokens", "tokens", 1_500_000, "1.5M-tokens", "1.5M-tokens"),
        ("1500k-tokens", "tokens", 1_500_000, "1.5M-tokens", "1.5M-tokens"),
        ("1234567-tokens", "tokens", 1_234_567, "1234.567k-tokens", "1234.567k-tokens"),
        ("1B-tokens", "tokens", 10**9, "1B-tokens", "1B-tokens"),
        ("7-tokens", "tokens", 7, "7-tokens", "7-tokens"),
    ],
)
def test_budgets_are_read_and_written_back(written, kind, amount, text, slug):
    budget = parse_budget(written)
    assert (budget.kind, budget.amount, str(budget), budget.slug) == (kind, amount, text, slug)
    assert parse_budget(str(budget)) == budget


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("0.11", "for a share write 11%"),
        ("0", "chooses nothing"),
        (0, "chooses nothing"),
        ("0%", "chooses nothing"),
        (-5, "chooses nothing"),
        ("-5", "cannot be read"),
        ("150%", "above 100%"),
        (1.0, "between 0 and 1"),
        (float("nan"), "between 0 and 1"),
        (True, "cannot be read"),
        (None, "cannot be read"),
        ("12.5", "not a whole number"),
        ("0.5-tokens", "not a whole number"),
        ("5k%", "cannot be read"),
        ("5m", "cannot be read"),
        ("", "cannot be read"),
        ("many\n", "'many'"),
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("9" * 5000, "…"),
        ("٣٣٠", "cannot be read"),
    ],
)
def test_what_is_no_budget_is_one_line(written, told):
    with pytest.raises(SettingsError) as error:
        parse_budget(written)
    assert told in str(error.value)
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("written", "read", "rows"),
    [("11%", 300, 33), ("11%", 262_039, 28_824), ("0.5%", 100, 1), ("0.5%", 300, 2), ("2.5%", 100, 3), (0.29, 100, 29)],
)
def test_shares_are_of_the_rows_read_rounded_half_up(written, read, rows):
    assert resolve(parse_budget(written), read=read, scorable=read) == rows


@given(st.integers(1, 10**9), st.integers(1, 10**6))
def test_a_share_is_never_more_than_half_a_row_off(read, millionth):
    exact = Fraction(millionth, 10**6) * read
    rows = resolve(Budget("share", Fraction(millionth, 10**6)), read=read, scorable=read) if exact >= 0.5 else 0
    assert -Fraction(1, 2) < rows - exact <= Fraction(1, 2)


def test_more_than_the_scorable_rows_names_read_excluded_and_asked():
    told = r"^budget 100% asks for 300 rows \(300 rows read, 3 of them excluded\): ask for at most 297$"
    with pytest.raises(SettingsError, match=told):
        resolve(parse_budget("100%"), read=300, scorable=297)
    assert resolve(parse_budget("297"), read=300, scorable=297) == 297


def test_a_share_that_rounds_to_no_row_is_refused():
    with pytest.raises(SettingsError, match="chooses no row"):
        resolve(parse_budget("0.1%"), read=300, scorable=300)
