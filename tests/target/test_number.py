"""Numbers in text, exactly: how they are written, and when two are the same."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2l.target.answers.number import Number, numbers_in, only_number, same_number


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("18", [18]),
        ("$1,234,567.50", ["1234567.5"]),
        ("-3 and +4", [-3, 4]),
        ("16-3", [16, 3]),
        ("5 1/2", ["5.5"]),
        ("\\frac{3}{4} or \\dfrac12", ["0.75", "0.5"]),
        ("-\\frac{1}{4}", ["-0.25"]),
        (".5", ["0.5"]),
        ("1.5e3", [1500]),
        ("\u221210", [-10]),
        ("[2, 3]", [2, 3]),
        ("1, 234", [1, 234]),
        ("12,34", [12, 34]),
        ("H2O, v1, x_3", []),
        ("4/0", []),
        ("5.", [5]),
        ("\u0661\u0668", []),
    ],
)
def test_numbers_are_read_as_a_person_would(text, values):
    assert [number.value for number in numbers_in(text)] == [Fraction(value) for value in values]


@pytest.mark.parametrize("text", ["5x", "10^2", "5!", "3 + 4", "1 2", "", "x=5", "2_8", "(5)", "5\\sqrt{2}"])
def test_what_is_more_than_a_number_is_none(text):
    assert only_number(text) is None


@given(st.integers(-(10**12), 10**12), st.integers(0, 6))
def test_a_written_decimal_is_read_back(digits, decimals):
    value = Fraction(digits, 10**decimals)
    sign, whole, rest = "-" if digits < 0 else "", *divmod(abs(digits), 10**decimals)
    text = f"{sign}{whole:,}" + (f".{rest:0{decimals}}" if decimals else "")
    number = only_number(text)
    assert (number.value, number.decimals) == (value, decimals)


@pytest.mark.parametrize(
    ("a", "b", "exact", "rounded"),
    [
        ("13.83", "83/6", False, True),
        ("13.8", "83/6", False, False),
        ("583.3333", "583.33", False, True),
        ("0.165", "0.17", False, False),
        ("0.05", "0.054", False, False),
        ("5", "5.2", False, False),
        ("100", "103", False, False),
        ("0.1", "0.10000000000000009", True, True),
        ("1234567", "1234568", False, False),
        ("8.0", "8", True, True),
        ("-0.0", "0", True, True),
    ],
)
def test_rounding_counts_only_where_a_set_is_rounded(a, b, exact, rounded):
    one, other = only_number(a), only_number(b)
    assert same_number(one, other) == same_number(other, one) == exact
    assert same_number(one, other, rounded=True) == same_number(other, one, rounded=True) == rounded


@given(st.fractions(), st.fractions())
def test_equality_is_symmetric_and_rounding_only_adds(x, y):
    a, b = Number(x, None, ""), Number(y, 2, "")
    assert same_number(a, b, rounded=True) == same_number(b, a, rounded=True)
    assert same_number(a, b, rounded=True) or not same_number(a, b)
