"""The answer that an output states: behind `The answer is`, in a box, or the whole of an output that is nothing else.

Outputs are a model's, so anything: of a stated answer the first thousand characters are read, and no pattern here can
take more than linear time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

LONGEST = 1000
"""Characters of an output that are read for its answer."""
STATED = re.compile(r"\banswers?(?:\*\*)?(?:\s+(?:is|are)\b|\s*:)[\s:*]*|####(?!\s*[a-z]{2})", re.IGNORECASE)
ON_ITS_OWN = re.compile(r"^(?:so |thus,? |therefore,? )?the (?:final )?answer is\b", re.IGNORECASE | re.MULTILINE)
BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
ENDS = re.compile(r"\n|\.(?=\s+[A-Z])")
CODE = re.compile(r"^\s*(?:def \w+\(|import \w|from \w+ import |print\()|\(\*.*\*\)|\bCeiling\[", re.MULTILINE)
ASSIGNED = re.compile(r"^\s*([A-Za-z_]\w+)\s*=(?!=)(.*)$", re.MULTILINE)
THOUSANDS = r"[0-9]{1,3}(?:(?:,|\{,\}|,?\\!)[0-9]{3})+"
VALUE = rf"-?(?:\\frac\{{[0-9]+\}}\{{[0-9]+\}}|{THOUSANDS}|[0-9][0-9./]*)"
UNKNOWN = rf"\$?[A-Za-z][A-Za-z_]{{0,30}}\s*=\s*{VALUE}\$?"
BETWEEN = r"\s*(?:,|;|and|or|\n)\s*"
ONLY_UNKNOWNS = re.compile(rf"{UNKNOWN}(?:{BETWEEN}{UNKNOWN})+")

Way = Literal["stated", "boxed", "equations", "whole", "program"]


@dataclass(frozen=True)
class Stated:
    """What an output gives for its answer, and how: `stated` and `boxed` answers end where their sentence does.

    `equations`: the output is nothing but values of unknowns. `whole`: nothing is stated, and `text` is the end of the
    output. `program`: nothing is stated but code, which is never run; `text` is empty.
    """

    text: str
    way: Way


def stated(output: str) -> Stated:
    """The last answer that the output states; where it states none, the end of it."""
    code = CODE.search(_ends(output)) is not None
    found = list((ON_ITS_OWN if code else STATED).finditer(output))
    if found:
        behind = output[found[-1].end() : found[-1].end() + LONGEST].lstrip(" \t:*`")
        if (box := BOX.search(behind)) and not behind[: box.start()].strip(" $\\([="):
            return Stated(_box(behind[box.end() :]), "boxed")
        return Stated(_sentence(behind.lstrip("\n")).rstrip("*`. "), "stated")
    if not code and (boxed := last_box(output)) is not None:
        return Stated(boxed, "boxed")
    if is_program(output):
        return Stated("", "program")
    whole = output[-LONGEST:].strip().rstrip(".").strip("*`")
    return Stated(whole, "equations" if ONLY_UNKNOWNS.fullmatch(whole) else "whole")


def last_box(text: str) -> str | None:
    """What stands in the last box; nothing where it is not closed, None where there is no box."""
    boxes = list(BOX.finditer(text))
    return _box(text[boxes[-1].end() : boxes[-1].end() + LONGEST]) if boxes else None


def is_program(output: str) -> bool:
    """Whether the output is code: a call, an import, or a name that is given a value and used to make another."""
    text = _ends(output)
    if CODE.search(text):
        return True
    names: set[str] = set()
    for name, value in ASSIGNED.findall(text):
        if names & set(re.findall(r"[A-Za-z_]\w+", value)):
            return True
        names.add(name)
    return False


def _ends(output: str) -> str:
    return output[:LONGEST] + "\n" + output[-LONGEST:] if len(output) > 2 * LONGEST else output


def _sentence(text: str) -> str:
    """The first line or sentence, not cut inside braces."""
    ends = (end.start() for end in ENDS.finditer(text))
    whole = next((end for end in ends if text.count("{", 0, end) == text.count("}", 0, end)), len(text))
    return text[:whole].strip().rstrip(".")


def _box(text: str) -> str:
    """What stands before the brace that closes the box; nothing where it is never closed: it may have been cut."""
    depth = 1
    for place, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if not depth:
            return text[:place].strip()
    return ""
