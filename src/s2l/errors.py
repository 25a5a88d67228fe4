"""What can go wrong for a user: each error is one line, with an exit code, and also a stdlib error."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

VALUE_WIDTH = 60
QUOTED = re.compile(r"'.*'", re.DOTALL)


class S2LError(Exception):
    """Base of all errors that the command line shows as one line instead of a traceback."""

    exit_code = 1


class SettingsError(S2LError, ValueError):
    """A setting, flag, recipe or budget that cannot be."""

    exit_code = 2


class DataError(S2LError, ValueError):
    """The pool cannot be read as it is: says file, row, value and what to do."""

    exit_code = 3


class RunFolderError(S2LError, RuntimeError):
    """The output folder belongs to other inputs, is damaged, or already holds what would be written."""

    exit_code = 4


class BusyError(RunFolderError):
    """Another process is at work in the run folder."""

    exit_code = 5


class MachineError(S2LError, OSError):
    """The machine stands in the way: hub unreachable, disk full, no such device."""

    exit_code = 6

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class NumericsError(S2LError, ArithmeticError):
    """A loss that is not a finite number: the run stops, since imputing it would choose the wrong rows."""

    exit_code = 7


def without_quotes(text: str) -> str:
    """A message without the values that it quotes, such as parts of rows."""
    return QUOTED.sub("'…'", text)


@contextmanager
def quoting_rows(allowed: bool) -> Iterator[None]:
    """Errors from the block quote nothing of a row where that is not allowed."""
    try:
        yield
    except (DataError, NumericsError) as error:
        if allowed:
            raise
        raise type(error)(without_quotes(str(error))) from None


def printable(text: str) -> str:
    """`text` on one line, with every control, format and unassigned character escaped, safe for a terminal."""
    return "".join(
        c if c == " " or unicodedata.category(c)[0] not in "CZ" else c.encode("unicode_escape").decode() for c in text
    )


def shown(value: object) -> str:
    """A user's value cut at 60 characters and made safe to print."""
    text = value if isinstance(value, str) else repr(value)
    head = printable(text[:VALUE_WIDTH])
    return repr_quotes(head[:VALUE_WIDTH] + ("…" if len(text) > VALUE_WIDTH or len(head) > VALUE_WIDTH else ""))


def repr_quotes(text: str) -> str:
    """`text` between single quotes."""
    return f"'{text}'"
