"""Is an output right? What it states is read as the kind of thing the gold answer is, and compared as its set asks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from s2l.target.answers.latex import cleaned, math_spans, squeezed
from s2l.target.answers.number import Number, numbers_in, only_number, same_number
from s2l.target.answers.stated import BOX, Stated, stated
from s2l.target.answers.symbolic import Prover

By = Literal["string", "number", "list", "choice", "math-verify", "different", "no answer", "program", "timed out"]
LETTER = re.compile(r"\(?[A-Z]\)?")
LIST = re.compile(r"\[[^\]]*\]|-?[0-9.]+(?:[ ,]+-?[0-9.]+)+")
BRACKETED = re.compile(r"\$?\[[^\]]*,[^\]]*\]\$?")
CHOSEN = re.compile(
    r"[^\w(]*(?:(?:[Tt]he )?(?:[Oo]ption|[Cc]hoice)\s*)?(?:\(([A-Za-z])\)|([A-Z])(?![A-Za-z'0-9])|([a-z])(?=\W*$))"
)
IN_BRACKETS = re.compile(r"\(([A-Z])\)")
CLAUSE = re.compile(r",\s|,(?![0-9]{3}(?![0-9]))|;| and |\n")
EQUALS = re.compile(r"=|\\approx|≈")


@dataclass(frozen=True)
class Rules:
    """rounded: the set's gold answers are rounded. latex: they are mathematical text, and an expression may be one."""

    rounded: bool = False
    latex: bool = False


RULES: Mapping[str, Rules] = {
    "gsm8k": Rules(),
    "math": Rules(latex=True),
    "numglue": Rules(rounded=True),
    "svamp": Rules(),
    "mathematics": Rules(),
    "simuleq": Rules(rounded=True),
}


@dataclass(frozen=True)
class Verdict:
    """right, the answer that was read (None: there is none), and what decided it."""

    right: bool
    answer: str | None
    by: By


def judge(task: str, output: str, gold: str, prover: Prover) -> Verdict:
    """Whether the output gives the gold answer, by the rules of the task.

    The same string comes first; then numbers, lists and choices are compared as such, and expressions by math-verify.
    """
    rules, found = RULES[task], stated(output)
    if not found.text:
        return Verdict(False, None, "program" if found.way == "program" else "no answer")
    if not rules.latex:
        if LETTER.fullmatch(gold):
            return _choice(found, gold.strip("()"))
        if (number := only_number(gold)) is not None:
            return _number(found, gold, number, rules)
        if LIST.fullmatch(gold):
            return _list(found, gold)
    return _expression(found, gold, prover)


def gold_of(answer: str) -> str:
    """The answer in a test set's column, which may hold a worked solution: behind `####`, or in its last box."""
    if "####" in answer or BOX.search(answer):
        return stated(answer).text
    return answer.strip()


def _number(found: Stated, gold: str, expected: Number, rules: Rules) -> Verdict:
    """The first number of a stated answer, behind its last equals sign; of an output that states none, the last."""
    if BRACKETED.fullmatch(found.text):
        return Verdict(False, found.text, "different")
    numbers = list(numbers_in(_first_clause(found.text) if found.way != "whole" else found.text))
    if not numbers:
        return Verdict(False, None, "no answer")
    given = numbers[-1 if found.way == "whole" else 0]
    answer = given.text
    if found.text == gold:
        return Verdict(True, answer, "string")
    return _compared(same_number(given, expected, rounded=rules.rounded), answer, "number")


def _first_clause(text: str) -> str:
    first = next((clause for clause in CLAUSE.split(text) if any(numbers_in(clause))), text)
    return EQUALS.split(first)[-1] if any(numbers_in(EQUALS.split(first)[-1])) else first


def _list(found: Stated, gold: str) -> Verdict:
    line = found.text.splitlines()[-1]
    given, expected = ([number.value for number in numbers_in(text)] for text in (EQUALS.split(line)[-1], gold))
    if gold.startswith("["):
        given, expected = sorted(given), sorted(expected)
    return _compared(given == expected, line, "string" if line == gold else "list")


def _choice(found: Stated, gold: str) -> Verdict:
    """The letter that a stated answer begins with, or that is the whole of an output; else the last in brackets."""
    letter = CHOSEN.match(found.text)
    if found.way == "whole" and not (letter and letter.end() == len(found.text)):
        letters = IN_BRACKETS.findall(found.text)
    else:
        letters = [next(part for part in letter.groups() if part)] if letter else []
    if not letters:
        return Verdict(False, None, "no answer")
    return _compared(letters[-1].upper() == gold, letters[-1].upper(), "choice")


def _expression(found: Stated, gold: str, prover: Prover) -> Verdict:
    """The stated answer as it stands, or the first formula in it; of an output that states none, its last formula."""
    spans = math_spans(found.text)
    if found.way != "whole":
        readings = [found.text, *spans[:1]]
    elif "\n" not in found.text:
        readings = [found.text, *spans[-1:]]
    else:
        readings = spans[-1:] or [number.text for number in list(numbers_in(found.text))[-1:]]
    for reading in dict.fromkeys(readings):
        if squeezed(reading) == squeezed(gold):
            return Verdict(True, reading, "string")
        given, expected = only_number(cleaned(reading)), only_number(cleaned(gold))
        if given and expected:
            if same_number(given, expected):
                return Verdict(True, reading, "number")
            continue
        value = _value(cleaned(reading), cleaned(gold))
        if ("=" in value) != ("=" in cleaned(gold)):  # an equation is no value
            continue
        equal = prover.equal(cleaned(gold), value)
        if equal:
            return Verdict(True, reading, "math-verify")
        if equal is None:
            return Verdict(False, reading, "timed out")
    return Verdict(False, readings[0], "different") if readings else Verdict(False, None, "no answer")


def _value(answer: str, gold: str) -> str:
    """Where the gold answer is a value, what stands behind the last equals sign of a calculation; an equation stays."""
    first, *more = answer.split("=")
    calculated = more and "=" not in gold and not re.search(r"[A-Za-z]", re.sub(r"\\[a-z]+", "", first).strip()[1:])
    return more[-1].strip() if calculated else answer


def _compared(same: bool, answer: str, by: By) -> Verdict:
    return Verdict(same, answer, by if same else "different")
