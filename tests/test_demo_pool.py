"""The demo's pool: the same bytes everywhere, answers that are right, and exactly the flaws it says it has."""

from __future__ import annotations

import json
import re
from collections import Counter
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest

from s2l.demo import LONG_LIST, ROMAN, SOURCES, DemoRow, demo_pool, demo_rows, write_demo_pool

ROWS = demo_rows()
GOLDEN = "8156906695f171ccb16575b3569f5dfc17b69a47ade01d9cf473498abca95289"


def sound(source: str) -> list[DemoRow]:
    return [row for row in ROWS if row.source == source and row.flaw in (None, "exact repeat")]


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def last_number(text: str) -> int:
    return int(re.findall(r"-?\d+", text)[-1])


def test_the_file_is_the_same_on_every_machine(tmp_path: Path) -> None:
    write_demo_pool(tmp_path / "demo.jsonl")
    assert sha256((tmp_path / "demo.jsonl").read_bytes()).hexdigest() == GOLDEN


def test_the_file_holds_the_pool_one_row_a_line(tmp_path: Path) -> None:
    write_demo_pool(tmp_path / "demo.jsonl")
    lines = (tmp_path / "demo.jsonl").read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    assert [json.loads(line) for line in lines] == demo_pool()
    assert set(demo_pool()[0]) == {"instruction", "output", "source"}


def test_another_seed_gives_another_pool() -> None:
    assert demo_pool(1) != demo_pool(0)


def test_sources_differ_widely_in_size_and_are_mixed() -> None:
    sizes = Counter(row.source for row in ROWS)
    assert len(sizes) == 11
    assert max(sizes.values()) > 1400 and min(sizes.values()) == 40
    assert len({row.source for row in ROWS[:50]}) > 5


def test_every_flaw_is_there_in_its_share() -> None:
    flaws = Counter(row.flaw for row in ROWS)
    assert flaws["empty response"] == flaws["prompt too long"] == 1
    assert 0.01 < flaws["wrong answer"] / len(ROWS) < 0.03
    assert 0.01 < flaws["exact repeat"] / len(ROWS) < 0.03


def test_rows_repeat_exactly_as_often_as_said() -> None:
    counts = Counter((row.instruction, row.output, row.source) for row in ROWS)
    assert sum(count - 1 for count in counts.values()) == sum(row.flaw == "exact repeat" for row in ROWS)


def test_only_one_response_is_empty() -> None:
    assert [row.flaw for row in ROWS if not row.output.strip()] == ["empty response"]


def test_the_long_prompt_alone_fills_a_window_of_512_tokens() -> None:
    (row,) = [row for row in ROWS if row.flaw == "prompt too long"]
    listed = numbers(row.instruction)
    assert len(listed) == LONG_LIST > 512
    assert numbers(row.output) == [sum(listed)]


@pytest.mark.parametrize("source", SOURCES)
def test_a_mistake_is_never_the_answer(source: str) -> None:
    make, rng = SOURCES[source][0], Random(3)
    for _ in range(500):
        problem = make(rng)
        assert problem.answer != problem.mistake
        assert "{}" in problem.solution and "{" not in problem.question


@pytest.mark.parametrize("source", ["addition/one-digit", "addition/large"])
def test_sums_are_right(source: str) -> None:
    for row in sound(source):
        assert last_number(row.output) == sum(numbers(row.instruction))


def test_products_are_right() -> None:
    for row in sound("multiplication-table"):
        a, b = numbers(row.instruction)
        assert last_number(row.output) == a * b


def test_differences_are_right() -> None:
    for row in sound("subtraction-stories"):
        have, gone = numbers(row.instruction)
        assert last_number(row.output) == have - gone


def test_fractions_add_up() -> None:
    for row in sound("fractions"):
        a, b, c, d = numbers(row.instruction)
        assert row.output.endswith(f"Answer: {Fraction(a, b) + Fraction(c, d)}")


def test_discounts_are_right() -> None:
    for row in sound("percent-discount"):
        price, percent = sorted(numbers(row.instruction), key=lambda n: f"${n}" not in row.instruction)
        assert last_number(row.output) * 100 == price * (100 - percent)


def test_equations_hold() -> None:
    equation = re.compile(r"(\d+)([a-z]) \+ (\d+) = (?:(\d*)\2 ([+-]) )?(-?\d+)[.?]?$")
    for row in sound("linear-equations"):
        a, _, b, c, sign, d = equation.search(row.instruction).groups()
        x = last_number(row.output)
        right = 0 if c is None else int(c or 1) * x
        assert int(a) * x + int(b) == right + int(f"{sign or '+'}1") * int(d)


def test_systems_hold() -> None:
    for row in sound("systems"):
        x, y = map(int, re.search(r"Answer: x = (-?\d+), y = (-?\d+)$", row.output).groups())
        equations = re.findall(r"(\d+)x \+ (\d+)y = (-?\d+)", row.instruction)
        assert len(equations) == 2
        assert all(int(a) * x + int(b) * y == int(c) for a, b, c in equations)


def test_sequences_go_on_as_they_began() -> None:
    for row in sound("sequences"):
        *_, a, b, c, d = numbers(row.instruction)
        right = {2 * d - c, d * d // c, d + (d - c) + ((d - c) - (c - b))}
        assert last_number(row.output) in right and a < b < c < d


def test_roman_numerals_are_right() -> None:
    value = {letters: number for number, letters in ROMAN}
    for row in sound("roman-numerals"):
        numeral = max(re.findall(r"\b[IVXLCDM]+\b", f"{row.instruction} {row.output}"), key=len)
        (number,) = set(numbers(f"{row.instruction} {row.output}"))
        assert sum(value[part] for part in re.findall("CM|CD|XC|XL|IX|IV|[MDCLXVI]", numeral)) == number
