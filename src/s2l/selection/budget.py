"""Budgets: what a person writes (330, 30k, 11%, 2M-tokens) → an exact number of rows or tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from numbers import Integral
from typing import Literal

from s2l.errors import SettingsError, shown

UNITS = {"B": 10**9, "M": 10**6, "k": 10**3, "": 1}
WRITTEN = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)(?:(%)|([kMB]?)(-tokens)?)", re.ASCII)
HINT = "write rows (330, 30k), a share (11%) or tokens (2M-tokens)"


@dataclass(frozen=True)
class Budget:
    """How much to keep: rows, a share in (0, 1] of the rows read, or tokens after truncation."""

    kind: Literal["rows", "share", "tokens"]
    amount: Fraction

    def __str__(self) -> str:
        """The canonical text: `330`, `11%`, `2M-tokens`."""
        if self.kind == "share":
            return f"{_decimal(self.amount * 100)}%"
        if self.kind == "rows":
            return str(self.amount)
        unit = next(unit for unit, size in UNITS.items() if self.amount >= size and self.amount * 1000 % size == 0)
        return f"{_decimal(self.amount / UNITS[unit])}{unit}-tokens"

    @property
    def slug(self) -> str:
        """The text as part of a file name: `330`, `11pct`, `2M-tokens`."""
        return str(self).replace("%", "pct")


def parse_budget(written: object) -> Budget:
    """A budget from text, or in Python from an int (rows) or a float in (0, 1) (share).

    Raises SettingsError for what cannot be read, is 0, or is above 100 %.
    """
    if isinstance(written, str):
        return _checked(_from_text(written.strip()), written)
    if isinstance(written, Integral) and not isinstance(written, bool):
        return _checked(Budget("rows", Fraction(int(written))), written)
    if isinstance(written, float):
        if not 0 < written < 1:
            raise SettingsError(f"budget {shown(written)}: a number with a point is a share between 0 and 1; {HINT}")
        return Budget("share", Fraction(repr(float(written))))
    raise SettingsError(f"budget {shown(written)} cannot be read: {HINT}")


def resolve(budget: Budget, *, read: int, scorable: int) -> int:
    """Rows that a budget of rows or a share means, shares rounded half up.

    read: rows in the pool, the base of shares. scorable: those of them that can be chosen.
    Raises SettingsError when that is no row, or more rows than can be chosen.
    """
    assert budget.kind != "tokens", "tokens depend on the draw"
    rows = int(budget.amount if budget.kind == "rows" else budget.amount * read + Fraction(1, 2))
    counted = f"{read:,} rows read, {read - scorable:,} of them excluded"
    if rows == 0:
        raise SettingsError(f"budget {budget} chooses no row ({counted}): ask for more")
    if rows > scorable:
        raise SettingsError(f"budget {budget} asks for {rows:,} rows ({counted}): ask for at most {scorable:,}")
    return rows


def _from_text(text: str) -> Budget:
    if not (match := WRITTEN.fullmatch(text)):
        raise SettingsError(f"budget {shown(text)} cannot be read: {HINT}")
    number, percent, unit, tokens = match.groups()
    if percent:
        return Budget("share", Fraction(number) / 100)
    amount = Fraction(number) * UNITS[unit]
    if amount.denominator == 1:
        return Budget("tokens" if tokens else "rows", amount)
    if amount < 1 and not tokens:
        raise SettingsError(
            f"budget {shown(text)} is not a number of rows: for a share write {_decimal(amount * 100)}%"
        )
    raise SettingsError(f"budget {shown(text)} is not a whole number: {HINT}")


def _checked(budget: Budget, written: object) -> Budget:
    if budget.amount <= 0:
        raise SettingsError(f"budget {shown(written)} chooses nothing: {HINT}")
    if budget.kind == "share" and budget.amount > 1:
        raise SettingsError(f"budget {shown(written)} is above 100%: {HINT}")
    return budget


def _decimal(number: Fraction) -> str:
    return f"{(Decimal(number.numerator) / Decimal(number.denominator)).normalize():f}"
