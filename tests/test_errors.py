"""What a user sees of a value that is not ours."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2l.errors import (
    BusyError,
    DataError,
    MachineError,
    NumericsError,
    RunFolderError,
    S2LError,
    SettingsError,
    printable,
    shown,
)

ANYTHING = st.text(st.characters(exclude_categories=[]))


@given(text=ANYTHING)
def test_nothing_reaches_the_terminal_but_printable_characters(text: str) -> None:
    for line in (printable(text), shown(text), shown([text]), shown({text: 1})):
        assert all(c == " " or unicodedata.category(c)[0] not in "CZ" for c in line)
        assert line.encode().decode() == line
        assert line.splitlines() in ([], [line])


@given(text=ANYTHING)
def test_a_value_is_cut_at_sixty_characters(text: str) -> None:
    line = shown(text)
    assert line[0] == line[-1] == "'"
    assert len(line.rstrip("'").removeprefix("'")) <= 61
    if len(printable(text)) <= 60:
        assert line == f"'{printable(text)}'"
    else:
        assert line.endswith("…'")


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("plain text", "'plain text'"),
        ("ünï 漢字 🙂", "'ünï 漢字 🙂'"),
        ("two\nlines\r\t", "'two\\nlines\\r\\t'"),
        ("\x1b[31mred\x1b[0m", "'\\x1b[31mred\\x1b[0m'"),
        ("\x1b]0;title\x07", "'\\x1b]0;title\\x07'"),
        ("\u202eltr", "'\\u202eltr'"),
        ("\u200f\u2066\ufeff", "'\\u200f\\u2066\\ufeff'"),
        ("\u2028\u0085\xa0", "'\\u2028\\x85\\xa0'"),
        ("\ud800x", "'\\ud800x'"),
        ("a\0b", "'a\\x00b'"),
        ("x" * 60, f"'{'x' * 60}'"),
        ("x" * 61, f"'{'x' * 60}…'"),
        ("\x1b" * 10**6, f"'{(chr(92) + 'x1b') * 15}…'"),
        (None, "'None'"),
        (float("nan"), "'nan'"),
        ({"a": 1}, "'{'a': 1}'"),
        ("", "''"),
    ],
)
def test_values_as_they_are_shown(value: object, line: str) -> None:
    assert shown(value) == line


def test_exit_codes_are_distinct_and_errors_are_also_of_the_standard_library() -> None:
    parents = {
        SettingsError: (2, ValueError),
        DataError: (3, ValueError),
        RunFolderError: (4, RuntimeError),
        BusyError: (5, RunFolderError),
        MachineError: (6, OSError),
        NumericsError: (7, ArithmeticError),
    }
    for error, (code, parent) in parents.items():
        assert error.exit_code == code
        assert issubclass(error, parent)
        assert issubclass(error, S2LError)
        assert str(error("one line: 50 %")) == "one line: 50 %"
