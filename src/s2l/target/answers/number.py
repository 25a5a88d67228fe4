"""Numbers in text: read exactly, and compared as the test sets need it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

WHOLE = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
DECIMAL = rf"(?:{WHOLE}(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]{{1,2}}(?![0-9A-Za-z]))?"
NUMBER = re.compile(
    rf"(?P<sign>(?<![\w)\]}}])[-+]\s?)?(?<![\w.])(?:(?P<units>[0-9]+)\s+(?=[0-9]+\s?/))?"
    rf"(?P<top>{DECIMAL})(?:\s?/\s?(?P<bottom>{DECIMAL}))?"
)
FRACTION = re.compile(r"\\[dtc]?frac\s*(?:\{\s*(-?[0-9.]+)\s*\}|([0-9]))\s*(?:\{\s*([0-9.]+)\s*\}|([0-9]))")
POWER_OF_TEN = re.compile(
    r"(?<=[0-9])\s*(?:x|×|\*|\\times|\\cdot)\s*10\s*(?:\^|\*\*)\s*\{?\s*(-?[0-9]{1,2})(?![0-9])\s*\}?"
)
NOTHING = ("\\!", "\\,", "\\$", "$", "\\%", "%")
TYPESET = {"\u2212": "-", "\u2013": "-", "{,}": ",", "\\;": " ", **dict.fromkeys(NOTHING, "")}
OPERAND = re.compile(
    r"\s?(?:\^|\*\s?(?:[0-9]|[a-z]\b)|\*\*\s?[0-9]|[x×·]\s?[0-9]|\\(?:times|cdot)\b|:[0-9]|[-+]\s?[0-9])"
)
NOISE = Fraction(1, 10**9)
"""Relative: what adding decimals in floating point leaves."""
CLOSE = Fraction(1, 100)


@dataclass(frozen=True)
class Number:
    """An exact value; decimals: how many it was written with, None for a fraction; text: how it was written.

    worked_on: a sign of calculation, a range or a ratio stands behind it, and another operand: it is not a value yet.
    """

    value: Fraction
    decimals: int | None
    text: str
    worked_on: bool = False


def numbers_in(text: str) -> Iterator[Number]:
    """The numbers of a text, from the front: signs, thousands, decimals, fractions (also LaTeX's), mixed numbers."""
    return filter(None, map(_number, NUMBER.finditer(_plain(text))))


def only_number(text: str) -> Number | None:
    """The number that the text is; None where it is anything else, or more."""
    found = NUMBER.fullmatch(_plain(text).strip())
    return found and _number(found)


def same_number(a: Number, b: Number, *, rounded: bool = False) -> bool:
    """Whether they are equal, up to the noise of floating point.

    rounded: also where, written with the fewer decimals of the two, which are two at least, they are the same and lie
    within 1 %: 83/6 is 13.83, but 13.8 is not, and 5 is 5 alone.
    """
    apart, size = abs(a.value - b.value), max(abs(a.value), abs(b.value))
    if apart <= NOISE * size:
        return True
    decimals = min((n.decimals for n in (a, b) if n.decimals is not None), default=0)
    return rounded and decimals >= 2 and apart <= Fraction(1, 2 * 10**decimals) and apart <= CLOSE * size


def _plain(text: str) -> str:
    for mark, plain in TYPESET.items():
        text = text.replace(mark, plain)
    text = POWER_OF_TEN.sub(r"e\1", text)
    return FRACTION.sub(lambda found: " {}{}/{}{}".format(*(part or "" for part in found.groups())), text)


def _number(found: re.Match[str]) -> Number | None:
    top, bottom = (found[part] and found[part].replace(",", "") for part in ("top", "bottom"))
    below = Fraction(bottom) if bottom else Fraction(1)
    if not below:
        return None
    value = Fraction(int(found["units"] or 0)) + Fraction(top) / below
    value = -value if (found["sign"] or "").startswith("-") else value
    worked_on = OPERAND.match(found.string, found.end()) is not None
    exact = bottom or "e" in top.lower()
    return Number(value, None if exact else len(top.partition(".")[2]), found[0].strip(), worked_on)
