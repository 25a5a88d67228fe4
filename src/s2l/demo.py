"""The demo's pool: worded arithmetic and algebra in eleven sources, with the flaws that real pools have."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from pathlib import Path
from random import Random
from typing import Literal

from s2l.files import written_whole

Flaw = Literal["wrong answer", "exact repeat", "empty response", "prompt too long"]
WRONG_SHARE, REPEAT_SHARE = 0.02, 0.02
LONG_LIST = 600

NAMES = (
    *("Ada", "Ben", "Chloe", "Daniel", "Elena", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Keiko", "Liam"),
    *("Maya", "Noah", "Olga", "Priya", "Quentin", "Rosa", "Samir", "Tara", "Umar", "Vera", "Wei", "Yusuf"),
)
THINGS = (
    *("apples", "marbles", "stickers", "pencils", "books", "coins", "cards", "shells", "buttons", "stamps"),
    *("cookies", "beads", "tickets", "tulips", "eggs", "postcards", "keys", "candles"),
)
GOODS = ("jacket", "lamp", "backpack", "bicycle", "kettle", "tent", "desk", "guitar", "camera", "coffee maker")
ROMAN = (
    *((1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL")),
    *((10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")),
)
UNITS = (
    *(("kilometre", "kilometres", 1000, "metres"), ("metre", "metres", 100, "centimetres")),
    *(("kilogram", "kilograms", 1000, "grams"), ("litre", "litres", 1000, "millilitres")),
    *(("hour", "hours", 60, "minutes"), ("minute", "minutes", 60, "seconds"), ("day", "days", 24, "hours")),
    *(("week", "weeks", 7, "days"), ("foot", "feet", 12, "inches"), ("yard", "yards", 3, "feet")),
)


@dataclass(frozen=True)
class Problem:
    """A question, its worked solution with `{}` where the answer stands, the answer, and a mistake often made."""

    question: str
    solution: str
    answer: str
    mistake: str


@dataclass(frozen=True)
class DemoRow:
    """One row of the demo's pool, and what is wrong with it, if anything (the pool's file does not say)."""

    instruction: str
    output: str
    source: str
    flaw: Flaw | None = None


def _one_digit_addition(rng: Random) -> Problem:
    a, b = rng.randint(2, 9), rng.randint(2, 9)
    name, other = rng.sample(NAMES, 2)
    thing = rng.choice(THINGS)
    question = rng.choice(
        [
            f"What is {a} + {b}?",
            f"Calculate {a} + {b}.",
            f"Add {a} and {b}.",
            f"{name} has {a} {thing} and gets {b} more. How many {thing} does {name} have now?",
            f"{name} found {a} {thing}, {other} found {b}. How many {thing} did they find together?",
            f"There are {a} {thing} on the table. {name} puts {b} more there. How many are there now?",
        ]
    )
    return Problem(question, f"{a} + {b} = {{}}", str(a + b), str(a + b + rng.choice([-1, 1, 10])))


def _large_addition(rng: Random) -> Problem:
    a, b = rng.randint(1_000, 99_999), rng.randint(1_000, 99_999)
    name = rng.choice(NAMES)
    question = rng.choice(
        [
            f"What is {a} + {b}?",
            f"Find the sum of {a} and {b}.",
            f"A stadium sold {a} tickets in May and {b} in June. How many tickets is that in all?",
            f"{name}'s company shipped {a} parcels last year and {b} this year. How many parcels in total?",
            f"One town has {a} inhabitants, the next one {b}. How many people live in the two towns together?",
        ]
    )
    return Problem(question, f"{a} + {b} = {{}}", str(a + b), str(a + b - rng.choice([10, 100, 1000])))


def _subtraction_story(rng: Random) -> Problem:
    left, gone = rng.randint(3, 60), rng.randint(3, 39)
    have = left + gone
    name, other = rng.sample(NAMES, 2)
    thing = rng.choice(THINGS)
    question = rng.choice(
        [
            f"{name} had {have} {thing} and gave {gone} of them to {other}. How many {thing} are left?",
            f"A box holds {have} {thing}. {name} takes out {gone}. How many {thing} stay in the box?",
            f"{name} needs {have} {thing} for a party and already has {gone}. How many are still missing?",
            f"{name} owns {have} {thing}, which is {gone} more than {other} owns. How many {thing} does {other} own?",
        ]
    )
    return Problem(question, f"{have} - {gone} = {{}}. The answer is {{}}.", str(left), str(left + 10))


def _multiplication_table(rng: Random) -> Problem:
    a, b = rng.randint(2, 12), rng.randint(2, 12)
    name, thing = rng.choice(NAMES), rng.choice(THINGS)
    question = rng.choice(
        [
            f"What is {a} × {b}?",
            f"What is {a} times {b}?",
            f"Multiply {a} by {b}.",
            f"Calculate {a} × {b}.",
            f"Find the product of {a} and {b}.",
            f"{name} fills {a} bags with {b} {thing} each. How many {thing} is that?",
        ]
    )
    return Problem(question, f"{a} × {b} = {{}}", str(a * b), str(a * b + rng.choice([-a, a])))


def _percent_discount(rng: Random) -> Problem:
    price, percent = 20 * rng.randint(2, 40), 5 * rng.randint(1, 14)
    off = price * percent // 100
    name, good = rng.choice(NAMES), rng.choice(GOODS)
    question = rng.choice(
        [
            f"A {good} costs ${price}. It is on sale for {percent}% off. What is the sale price?",
            f"{name} buys a {good} that is marked ${price} with a discount of {percent}%. How much does {name} pay?",
            f"The price of a {good}, ${price}, is lowered by {percent}%. What does it cost now?",
        ]
    )
    steps = f"The discount is {percent}% of ${price}: {price} × {percent} / 100 = {off}."
    return Problem(
        question,
        f"{steps}\nThe price is then {price} - {off} = {{}}.\nAnswer: ${{}}",
        str(price - off),
        str(price + off),
    )


def _unit_conversion(rng: Random) -> Problem:
    one, large, factor, small = rng.choice(UNITS)
    n = rng.randint(2, 48)
    if rng.random() < 0.5:
        question = rng.choice([f"How many {small} are {n} {large}?", f"Convert {n} {large} to {small}."])
        steps = f"1 {one} is {factor} {small}, so {n} × {factor} = {{}} {small}."
        return Problem(question, steps, str(n * factor), str(n * factor * 10))
    total = n * factor
    question = rng.choice([f"How many {large} are {total} {small}?", f"Convert {total} {small} to {large}."])
    steps = f"{factor} {small} are 1 {one}, so {total} / {factor} = {{}} {large}."
    return Problem(question, steps, str(n), str(total * factor))


def _fractions(rng: Random) -> Problem:
    b, d = rng.sample(range(2, 13), 2)
    a, c = (rng.choice([n for n in range(1, m) if gcd(n, m) == 1]) for m in (b, d))
    common = b * d // gcd(b, d)
    left, right = a * common // b, c * common // d
    total = Fraction(left + right, common)
    name, other = rng.sample(NAMES, 2)
    question = rng.choice(
        [
            f"What is {a}/{b} + {c}/{d}? Give the answer in lowest terms.",
            f"Add the fractions {a}/{b} and {c}/{d} and simplify.",
            f"{name} walks {a}/{b} of a mile and then {c}/{d} of a mile. How far does {name} walk?",
            f"{name}'s cake takes {a}/{b} cup of sugar, {other}'s takes {c}/{d} cup. How much is it in all?",
        ]
    )
    steps = f"The common denominator is {common}: {a}/{b} = {left}/{common} and {c}/{d} = {right}/{common}."
    solution = f"{steps}\n{left}/{common} + {right}/{common} = {left + right}/{common}\nAnswer: {{}}"
    return Problem(question, solution, str(total), f"{a + c}/{b + d}")


def _linear_equation(rng: Random) -> Problem:
    a, x, b = rng.randint(2, 12), rng.randint(-15, 20), rng.randint(1, 30)
    c = rng.choice([0, 0, rng.randint(1, a - 1)])
    right = (a - c) * x + b
    letter = rng.choice("xyzntk")
    side = f"{right}" if c == 0 else f"{_coefficient(c)}{letter} {_signed(right)}"
    question = rng.choice(
        [
            f"Solve for {letter}: {a}{letter} + {b} = {side}",
            f"Find {letter} if {a}{letter} + {b} = {side}.",
            f"What value of {letter} satisfies {a}{letter} + {b} = {side}?",
        ]
    )
    gather = [] if c == 0 else [f"Subtract {_coefficient(c)}{letter}: {_coefficient(a - c)}{letter} + {b} = {right}"]
    steps = [*gather, f"Subtract {b}: {_coefficient(a - c)}{letter} = {right - b}"]
    divide = [f"Divide by {a - c}: {letter} = {right - b} / {a - c}"] if a - c > 1 else []
    solution = "\n".join([*steps, *divide, f"{letter} = {{}}"])
    return Problem(question, solution, str(x), str(-x if x else 1))


def _sequence(rng: Random) -> Problem:
    start, step = rng.randint(1, 20), rng.randint(2, 9)
    kind = rng.choice(["arithmetic", "geometric", "growing"])
    if kind == "arithmetic":
        terms = [start + step * i for i in range(6)]
        why = f"Each term is {step} more than the one before: {terms[4]} + {step} = {{}}."
    elif kind == "geometric":
        ratio = rng.randint(2, 4)
        terms = [start * ratio**i for i in range(6)]
        why = f"Each term is {ratio} times the one before: {terms[4]} × {ratio} = {{}}."
    else:
        terms = [start + step * i * (i + 1) // 2 for i in range(6)]
        jumps = ", ".join(str(step * i) for i in range(1, 5))
        why = f"The differences are {jumps}, so the next one is {5 * step}: {terms[4]} + {5 * step} = {{}}."
    listed = ", ".join(map(str, terms[:5]))
    question = rng.choice([f"What comes next: {listed}, …?", f"Find the next number in the sequence {listed}."])
    return Problem(question, f"{why}\nAnswer: {{}}", str(terms[5]), str(2 * terms[4] - terms[3] - 1))


def _roman_numeral(rng: Random) -> Problem:
    n = rng.randint(12, 3_989)
    numeral, near = _roman(n), n + rng.choice([-10, 10, 1])
    question = rng.choice([f"Write {n} as a Roman numeral.", f"What is {n} in Roman numerals?"])
    if rng.random() < 0.5:
        return Problem(question, f"{n} is {{}} in Roman numerals.", numeral, _roman(near))
    question = rng.choice([f"Which number is {numeral}?", f"Convert the Roman numeral {numeral} to digits."])
    return Problem(question, f"{numeral} is {{}}.", str(n), str(near))


def _system(rng: Random) -> Problem:
    x, y = rng.randint(-9, 12), rng.randint(-9, 12)
    a, b, c, d = 0, 0, 0, 0
    while a * d == b * c:
        a, b, c, d = (rng.randint(2, 9) for _ in range(4))
    e, f = a * x + b * y, c * x + d * y
    det = a * d - b * c
    question = rng.choice(["Solve the system of equations:", "Find x and y such that both equations hold:"])
    solution = "\n".join(
        [
            "Eliminate y first.",
            f"Multiply the first equation by {d}: {a * d}x + {b * d}y = {e * d}",
            f"Multiply the second equation by {b}: {b * c}x + {b * d}y = {f * b}",
            f"Subtract the second from the first: {_coefficient(det)}x = {e * d - f * b}, so x = {x}.",
            f"Put x = {x} into the first equation: {a * x} + {b}y = {e}, so {b}y = {b * y} and y = {y}.",
            f"Check in the second equation: {c} × {_factor(x)} + {d} × {_factor(y)} = {f}.",
            "Answer: {}",
        ]
    )
    mistake = f"x = {x}, y = {-y if y else 1}"
    return Problem(f"{question}\n{a}x + {b}y = {e}\n{c}x + {d}y = {f}", solution, f"x = {x}, y = {y}", mistake)


def _coefficient(n: int) -> str:
    return {1: "", -1: "-"}.get(n, str(n))


def _factor(n: int) -> str:
    return f"({n})" if n < 0 else str(n)


def _signed(n: int) -> str:
    return f"+ {n}" if n >= 0 else f"- {-n}"


def _roman(n: int) -> str:
    numeral = ""
    for value, letters in ROMAN:
        numeral += letters * (n // value)
        n %= value
    return numeral


SOURCES: dict[str, tuple[Callable[[Random], Problem], int]] = {
    "addition/one-digit": (_one_digit_addition, 1400),
    "multiplication-table": (_multiplication_table, 800),
    "addition/large": (_large_addition, 500),
    "subtraction-stories": (_subtraction_story, 380),
    "percent-discount": (_percent_discount, 260),
    "unit-conversion": (_unit_conversion, 180),
    "fractions": (_fractions, 140),
    "linear-equations": (_linear_equation, 110),
    "sequences": (_sequence, 70),
    "roman-numerals": (_roman_numeral, 45),
    "systems": (_system, 40),
}


def demo_rows(seed: int = 0) -> list[DemoRow]:
    """The demo's pool with the flaw of each row; the same rows on any machine."""
    rows = [row for source in SOURCES for row in _source_rows(source, seed)]
    rng = Random(f"{seed}/flaws")
    sound = [row for row in rows if row.flaw is None]
    repeats = rng.sample(sound, round(REPEAT_SHARE * len(rows)))
    rows += [DemoRow(row.instruction, row.output, row.source, "exact repeat") for row in repeats]
    rows += [_empty_response(), _long_prompt(rng)]
    rng.shuffle(rows)
    return rows


def demo_pool(seed: int = 0) -> list[dict[str, str]]:
    """The demo's pool as rows with `instruction`, `output` and `source`."""
    return [{"instruction": r.instruction, "output": r.output, "source": r.source} for r in demo_rows(seed)]


def write_demo_pool(path: Path, seed: int = 0) -> None:
    """Write the demo's pool as JSON Lines."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in demo_pool(seed)]
    with written_whole(path) as part:
        part.write_bytes("".join(lines).encode())


def _source_rows(source: str, seed: int) -> list[DemoRow]:
    make, size = SOURCES[source]
    rng = Random(f"{seed}/{source}")
    rows: dict[str, DemoRow] = {}
    while len(rows) < size:
        problem = make(rng)
        wrong = rng.random() < WRONG_SHARE
        output = problem.solution.replace("{}", problem.mistake if wrong else problem.answer)
        flaw: Flaw | None = "wrong answer" if wrong else None
        rows.setdefault(problem.question, DemoRow(problem.question, output, source, flaw))
    return list(rows.values())


def _empty_response() -> DemoRow:
    question = "Ada had 31 tulips and sold 14 of them. How many tulips are left?"
    return DemoRow(question, "", "subtraction-stories", "empty response")


def _long_prompt(rng: Random) -> DemoRow:
    numbers = [rng.randint(1_000, 9_999) for _ in range(LONG_LIST)]
    question = f"Add up all of these numbers: {', '.join(map(str, numbers))}."
    return DemoRow(question, f"The sum is {sum(numbers)}.", "addition/large", "prompt too long")
