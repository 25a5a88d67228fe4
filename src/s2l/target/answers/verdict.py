"""Is an output right? What it states is read as the kind of thing the gold answer is, and compared as its set asks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from s2l.target.answers.latex import TEXT, cleaned, math_spans, squeezed
from s2l.target.answers.number import Number, numbers_in, only_number, same_number
from s2l.target.answers.stated import Stated, last_box, stated
from s2l.target.answers.symbolic import Prover, renamed, variables

By = Literal["string", "number", "list", "choice", "math-verify", "different", "no answer", "program", "timed out"]
LETTER = re.compile(r"\(?[A-Z]\)?")
LIST = re.compile(r"\[[^\]]*\]|-?[0-9.]+(?:[ ,]+-?[0-9.]+)+")
BRACKETED = re.compile(r"\$?\[[^\]]*,[^\]]*\]\$?")
CHOSEN = re.compile(
    r"[^\w(]*(?:(?:[Tt]he )?(?:[Oo]ption|[Cc]hoice)\s*)?"
    r"(?:\(([A-Za-z])\)|([A-Z])(?![A-Za-z'0-9])(?!(?<=A) (?!because|since|as |is )[a-z])|([a-z])(?=\W*$))"
    r"(?!\s*(?:or|and|/)\s*\(?[A-Z]\b)"
)
ONE_LINE_CHOICE = re.compile(r"([A-Z])[).:]\s[^\n]*|[^\n]*\b(?:[Oo]ption|[Cc]hoice)(?:\s+is)?:?\s+\(?([A-Z])\)?\W*")
IN_BRACKETS = re.compile(r"\(([A-Z])\)")
CHOICE_GOLD = re.compile(r"\\text\s*\{\s*\(?([A-Z])\)?\s*\}|\(([A-Z])\)")
NO_VALUE = re.compile(r"sqrt|√|\\pi(?![A-Za-z])")
TERM = re.compile(r"[0-9]\s?\*\s?[a-z]|\*\*\s?[0-9(]|[a-z]\^")
NAMES = re.compile(r"\b[A-Za-z]\w*\s*=")
FORMULAS = re.compile(r"(?:\$[^$]+\$(?:[,;\s]|and|or)*){2,}\.?")
BASE = re.compile(r"_\{?([0-9]+)\}?$")
MEASURED = re.compile(r"(\S+) ([A-Za-z]+(?:[ /][A-Za-z]+)*)")
ARITHMETIC = frozenset(
    [
        "pi",
        "times",
        "plus",
        "minus",
        "over",
        "sqrt",
        "root",
        "to",
        "by",
        "squared",
        "cubed",
        "factorial",
        "dozen",
        "score",
        "halves",
        "thirds",
        "quarters",
        "hundred",
        "thousand",
        "million",
        "billion",
        "trillion",
    ]
)
CLAUSE = re.compile(r",\s|,(?![0-9]{3}(?![0-9]))|;| and |\n")
EQUALS = re.compile(r"=|\\approx|≈")


@dataclass(frozen=True)
class Rules:
    """How a set is compared.

    rounded: its gold answers are rounded. latex: they are mathematical text, and an expression may be one. several: its
    questions have several unknowns, and the gold answer is the first.
    """

    rounded: bool = False
    latex: bool = False
    several: bool = False


RULES: Mapping[str, Rules] = {
    "gsm8k": Rules(),
    "math": Rules(latex=True),
    "numglue": Rules(rounded=True),
    "svamp": Rules(),
    "mathematics": Rules(),
    "simuleq": Rules(rounded=True, several=True),
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
    elif letter := CHOICE_GOLD.fullmatch(gold):
        return _choice(found, letter[1] or letter[2])
    return _expression(found, gold, prover)


def gold_of(answer: str) -> str:
    """The answer in a test set's column, which may hold a worked solution: behind `####`, or in its last box."""
    if "####" in answer:
        return answer.rpartition("####")[2].strip()
    return last_box(answer) or answer.strip()


def _number(found: Stated, gold: str, expected: Number, rules: Rules) -> Verdict:
    """The first number of a stated answer, behind its last equals sign; of an output that states none, the last."""
    if found.text == gold:
        return Verdict(True, gold, "string")
    several = only_number(found.text) is None and _is_list(found.text)
    if several and not rules.several and (found.way == "whole" or BRACKETED.fullmatch(found.text)):
        return Verdict(False, found.text, "different")
    from_behind = found.way == "whole" and not several
    text = found.text if from_behind else _first_clause(found.text)
    numbers = list(numbers_in(text))
    if not numbers:
        return Verdict(False, None, "no answer")
    given = numbers[-1 if from_behind else 0]
    no_value = TERM.search(text) if from_behind and "\n" not in text else not from_behind and NO_VALUE.search(text)
    if given.worked_on or no_value:
        return Verdict(False, text, "different")
    answer = given.text
    return _compared(same_number(given, expected, rounded=rules.rounded), answer, "number")


def _first_clause(text: str) -> str:
    text = text.replace("{,}", ",").replace("\\!", "")  # between thousands these part nothing
    first = next((clause for clause in CLAUSE.split(text) if any(numbers_in(clause))), text)
    return EQUALS.split(first)[-1] if any(numbers_in(EQUALS.split(first)[-1])) else first


def _is_list(text: str) -> bool:
    return LIST.fullmatch(text.strip("$ ").removeprefix("(").removesuffix(")").replace(" and ", ", ")) is not None


def _list(found: Stated, gold: str) -> Verdict:
    """Its numbers, in any order where the gold answer stands in brackets."""
    line = found.text if found.way == "equations" else found.text.splitlines()[-1]
    values = NAMES.sub("", line) if len(NAMES.findall(line)) > 1 else EQUALS.split(line)[-1]
    given, expected = ([number.value for number in numbers_in(text)] for text in (values, gold))
    if gold.startswith("["):
        given, expected = sorted(given), sorted(expected)
    return _compared(given == expected, line, "string" if line == gold else "list")


def _choice(found: Stated, gold: str) -> Verdict:
    """The letter that a stated answer begins with, or that is the whole of an output; else the last in brackets."""
    text = TEXT.sub(r"\1", found.text).replace("$", "")
    letter = CHOSEN.match(text)
    if found.way == "whole" and not (letter and letter.end() == len(text)):
        line = ONE_LINE_CHOICE.fullmatch(text)
        letters = [line[1] or line[2]] if line else IN_BRACKETS.findall(text)
    else:
        letters = [next(part for part in letter.groups() if part)] if letter else []
    if not letters:
        return Verdict(False, None, "no answer")
    return _compared(letters[-1].upper() == gold, letters[-1].upper(), "choice")


def _expression(found: Stated, gold: str, prover: Prover) -> Verdict:
    """The first of the readings that is the gold answer: the same string, number, or an equal expression."""
    readings = list(dict.fromkeys(_readings(found)))
    for reading in readings:
        by = _equal(cleaned(reading), cleaned(gold), prover)
        if by != "different":
            return Verdict(by != "timed out", reading, by)
    return Verdict(False, readings[0], "different") if readings else Verdict(False, None, "no answer")


def _readings(found: Stated) -> list[str]:
    """The stated answer as it stands, and the first formula in it; of an output that states none, its last formula."""
    spans = math_spans(found.text)
    if FORMULAS.fullmatch(found.text):  # several solutions
        return [found.text]
    if found.way != "whole":
        return [found.text, *spans[:1]]
    if "\n" not in found.text:
        return [found.text, *spans[-1:]]
    return spans[-1:] or [number.text for number in list(numbers_in(found.text))[-1:]]


def _equal(answer: str, gold: str, prover: Prover) -> By:
    """What makes two cleaned texts the same."""
    if squeezed(answer) == squeezed(gold):
        return "string"
    if BASE.search(gold) or BASE.search(answer):
        return "number" if _same_in_base(answer, gold) else "different"
    given, expected = _measured(answer), only_number(gold)
    if given and expected:
        return "number" if same_number(given, expected) else "different"
    value = _value(answer, gold)
    if ("=" in value) != ("=" in gold) or variables(value) != variables(gold):  # an equation is no value
        return "different"
    equal = prover.equal(renamed(gold), renamed(value))
    return "timed out" if equal is None else "math-verify" if equal else "different"


def _value(answer: str, gold: str) -> str:
    """Where the gold answer is a value, what stands behind the last equals sign of a calculation; an equation stays."""
    first, *more = answer.split("=")
    calculated = more and "=" not in gold and not re.search(r"[A-Za-z]", re.sub(r"\\[a-z]+", "", first).strip()[1:])
    return more[-1].strip() if calculated else answer


def _same_in_base(answer: str, gold: str) -> bool:
    """The same digits, in the same base or in one that is not named."""
    bases = {base[1] for text in (answer, gold) if (base := BASE.search(text))}
    return BASE.search(gold) is not None and len(bases) == 1 and BASE.sub("", answer) == BASE.sub("", gold)


def _measured(text: str) -> Number | None:
    """The number that the text is, words behind it not counted: `5 miles per hour`."""
    if (found := MEASURED.fullmatch(text)) and len(found[2]) > 1 and not ARITHMETIC & set(found[2].lower().split()):
        return only_number(found[1])
    return only_number(text)


def _compared(same: bool, answer: str, by: By) -> Verdict:
    return Verdict(same, answer, by if same else "different")
