"""What outputs say and whether it is right: sixty with a stated verdict each, and what models write at their worst."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from evaluation_toys import SETS

from s2l.selection import keyed
from s2l.target.answers.latex import cleaned, squeezed
from s2l.target.answers.stated import is_program, stated
from s2l.target.answers.symbolic import Prover
from s2l.target.answers.verdict import RULES, gold_of, judge
from s2l.target.evaluate_settings import TASKS, EvaluateSettings

pytest.importorskip("math_verify", reason="the extra eval is not installed")

OUTPUTS = [json.loads(line) for line in (Path(__file__).with_name("outputs.jsonl")).read_text("utf-8").splitlines()]
FORMS = ("{}", "First 3 steps.\nThe answer is {}", "The answer is ${}$.", "so \\boxed{{{}}}")


@pytest.fixture(scope="module")
def prover():
    with Prover() as prover:
        yield prover


@pytest.mark.parametrize("row", OUTPUTS, ids=lambda row: f"{row['task']}: {row['rule']}")
def test_the_verdict_is_the_stated_one(row, prover):
    verdict = judge(row["task"], row["output"], row["gold"], prover)
    assert verdict.right == row["right"], verdict


def test_the_sixty_outputs_are_of_every_set_and_of_both_verdicts():
    assert len(OUTPUTS) == 60
    for task in TASKS:
        assert {row["right"] for row in OUTPUTS if row["task"] == task} == {True, False}
    assert set(RULES) == set(TASKS) == set(SETS)


SECOND_READER = [
    ("gsm8k", "18", "Thus, Janet makes **$18** every day.", True),
    ("math", "2516_8", "The answer is $2516_7$", False),
    ("math", "2516_8", "The answer is $2516_{9}$", False),
    ("math", "-221_3", "The answer is $-221_4$", False),
    ("math", "2516_8", "The answer is $2516_{8}$", True),
    ("math", "2516_8", "The answer is 1358", False),
    ("math", "2516_8", "The answer is 2516", True),
    ("math", "4t", "The answer is 4", False),
    ("math", "3t", "The answer is 3", False),
    ("math", "5", "The answer is $5t$", False),
    ("math", "4t", "The answer is $4t$", True),
    ("math", "\\frac{8t}{3}", "The answer is \\boxed{\\dfrac{8}{3}t}", True),
    ("math", "2", "The answer is $x=2$ or $x=3$", False),
    ("math", "3", "The answer is $3$ and $5$", False),
    ("math", "3,5", "The answer is $x=3$ or $x=5$", True),
    ("math", "3,5", "The answer is $5$, $3$", True),
    ("math", "19 \\text{ and }43", "The answer is 19 and 43", True),
    ("math", "19 \\text{ and }43", "The answer is $19, 43$", True),
    ("math", "19 \\text{ and }43", "The answer is 1943", False),
    ("numglue", "A", "The answer is A web", False),
    ("numglue", "A", "The answer is A lower temperature", False),
    ("numglue", "A", "The answer is A or B", False),
    ("numglue", "A", "The answer is A because it is", True),
    ("numglue", "A", "The answer is A", True),
    ("numglue", "A", "The answer is A.", True),
    ("gsm8k", "3", "The answer is 3 x 10^5", False),
    ("gsm8k", "3", "The answer is 3 * 6", False),
    ("gsm8k", "25", "The answer is \\sqrt{25}", False),
    ("gsm8k", "5", "The answer is 5^2", False),
    ("gsm8k", "5", "The answer is 5-6 cups", False),
    ("gsm8k", "3", "The answer is 3:2", False),
    ("mathematics", "3", "3*u", False),
    ("mathematics", "2", "5*x**2", False),
    ("mathematics", "2", "2, 3", False),
    ("mathematics", "3", "2, 3", False),
    ("math", "5", "The answer is 5 dollars", True),
    ("math", "5", "The answer is 5 miles per hour", True),
    ("math", "5", "The answer is 5 m/s", True),
    ("math", "5", "The answer is 5 years old", True),
    ("math", "2", "The answer is 2 vertical asymptotes", True),
    ("math", "5", "The answer is 5 pi", False),
    ("math", "5", "The answer is 5 million", False),
    ("math", "5", "The answer is **5**", True),
    ("math", "5", "The answer is `5`", True),
    ("numglue", "August", "The answer is **August**", True),
    ("gsm8k", "15", "revenue = 9 * 2 = 18\nprofit = revenue - 3 = 15\n#### 15", True),
    ("gsm8k", "15", "revenue = 9 * 2 = 18\nprofit = revenue - 3 = 15\nAnswer: 15", True),
    ("gsm8k", "15", "revenue = 9 * 2 = 18\nprofit = revenue - 3 = 15\n\\boxed{15}", True),
    ("gsm8k", "300000", "The answer is 3 x 10^5", True),
    ("gsm8k", "300000", "The answer is 3 \\times 10^5", True),
    ("gsm8k", "1500", "The answer is 1.5 \\times 10^3", True),
    ("gsm8k", "1500", "The answer is $1.5 \\times 10^{3}$", True),
    ("simuleq", "1200", "x = 1,200\ny = 9", True),
    ("simuleq", "1200", "x = 1{,}200, y = 9", True),
    ("simuleq", "1200", "x = 1,\\!200, y = 9", True),
    ("gsm8k", "1200", "\\boxed{1{,}200}", True),
    ("svamp", "1200", "The answer is $1,\\!200$", True),
    ("numglue", "12500", "\\(\\boxed{12,\\!500}\\)", True),
    ("gsm8k", "1", "The answer is $1{,}200$", False),
    ("svamp", "3", "\\boxed{3,\\!500}", False),
    ("simuleq", "2.2857", "x = \\frac{16}{7}, y = 2", True),
    ("simuleq", "15", "N = 15, P = 9", True),
    ("simuleq", "15", "novelists = 15, poets = 9", True),
    ("simuleq", "15", "15, 9", True),
    ("simuleq", "15", "15 and 9", True),
    ("simuleq", "15", "(15, 9)", True),
    ("simuleq", "15", "The answer is [15, 9]", True),
    ("numglue", "B", "The answer is \\text{(B)}", True),
    ("numglue", "B", "The answer is $\\text{B}$", True),
    ("numglue", "B", "\\boxed{\\text{B}}", True),
    ("numglue", "B", "B) tree", True),
    ("numglue", "B", "B. tree", True),
    ("numglue", "B", "B: tree", True),
    ("numglue", "B", "The correct option is B", True),
    ("math", "\\text{(C)}", "The answer is (C) 12", True),
    ("math", "\\text{(C)}", "The answer is C", True),
    ("math", "\\text{(C)}", "The answer is D", False),
    ("mathematics", "[0, 1]", "q = 0, q = 1", True),
    ("mathematics", "[0, 1]", "The answer is q = 0 or q = 1", True),
    ("math", "(1,2)", "The answer is $(x,y)=(1,2)$", True),
    ("math", "36\\sqrt{3}", "The answer is 36√3", True),
    ("math", "4\\pi", "The answer is 4pi", True),
    ("math", "x^2+1", "The answer is x**2 + 1", True),
    ("gsm8k", "18", "#### Step 1\nfoo\n#### Step 2: money\n9*2 = 18, so \\boxed{18}", True),
    ("math", "9\\text{ a.m.}", "The answer is $9\\text{ p.m.}$", False),
    ("math", "9\\text{ a.m.}", "The answer is $9\\text{ a.m.}$", True),
    ("gsm8k", "18", "The answer is 18 - because 9*2=18", True),
    ("gsm8k", "18", "The answer is 9 x 2 = 18", True),
    ("gsm8k", "5", "The answer is 5 +/- nothing", True),
    ("math", "y = \\frac{1}{2} x + 2", "The answer is $x/2+2$", True),
    ("math", "c^2+d", "The answer is $d+c^2$", True),
]


@pytest.mark.parametrize(("task", "gold", "output", "right"), SECOND_READER)
def test_what_a_second_reader_tried(task, gold, output, right, prover):
    verdict = judge(task, output, gold, prover)
    assert verdict.right == right, verdict


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("task", TASKS)
def test_gold_answers_are_right(task, form, prover):
    for gold in SETS[task]:
        verdict = judge(task, form.format(gold), gold, prover)
        assert verdict.right, (gold, verdict)


@pytest.mark.parametrize("task", TASKS)
def test_another_gold_answer_is_wrong(task, prover):
    golds = SETS[task]
    for gold, other in zip(golds, golds[1:] + golds[:1], strict=True):
        assert not judge(task, f"The answer is {other}", gold, prover).right, (gold, other)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " \n\n ",
        ".",
        "The answer is",
        "####",
        "\\boxed{",
        "\\boxed{}",
        "$$",
        "\x00\x1b[2J",
        "\u202e81",
        "/",
        "-",
        "1/0",
        "nan",
        "inf",
    ],
)
@pytest.mark.parametrize("task", TASKS)
def test_next_to_nothing_is_wrong(task, answer, prover):
    assert not judge(task, answer, SETS[task][0], prover).right


@pytest.mark.parametrize(
    "output",
    [
        "1" * 2_000_000,
        "answer is " * 200_000,
        "answer" + " " * 1_000_000,
        "\\boxed{" * 150_000,
        "\\frac{" * 150_000,
        "(" * 1_000_000,
        "\n" * 1_000_000,
        "x = " * 250_000,
        "xy = 1\n" * 150_000,
        "1,234," * 150_000,
        "The answer is " + "9" * 1_000_000,
        "The answer is 1e99999999999",
        "\\text{" * 100_000 + "}" * 100_000,
    ],
    ids=lambda output: f"{output[:16]!r} × {len(output)}",
)
@pytest.mark.parametrize("task", TASKS)
def test_long_and_nested_outputs_take_no_time(task, output, prover):
    start = time.process_time()
    assert not judge(task, output, SETS[task][0], prover).right
    assert time.process_time() - start < 20, "in proportion to the length it takes one or two on any machine"


def test_an_answer_in_front_of_a_megabyte_is_still_found(prover):
    assert judge("gsm8k", "The answer is 18.\n" + "and so on " * 100_000, "18", prover).right


def test_a_proof_that_takes_too_long_is_ended_and_the_next_question_is_answered():
    with Prover(seconds=4.0) as prover:
        assert prover.equal("\\frac{1}{2}", "0.5") is True
        pid = prover._process.pid
        tower = "9^{" * 60 + "9" + "}" * 60
        assert judge("math", f"The answer is ${tower}$", "5", prover).by == "timed out"
        prover._process and prover._process.kill()
        assert prover.equal("5", "5") in {None, True}
        assert prover.equal("x^2-1", "(x-1)(x+1)") is True
        assert prover._process.pid != pid


@pytest.mark.parametrize("gold", ["import os; os.system('touch RAN')", "__import__('os').system('touch RAN')"])
def test_nothing_that_a_model_writes_is_run(gold, prover, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Prover() as own:
        for form in FORMS:
            assert not judge("math", form.format(gold), "5", own).right
            assert not judge("gsm8k", f"{gold}\nprint(18)", "18", own).right
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("output", "program"),
    [
        ("def solution():\n    return 5\n\nprint(solution())", True),
        ("from sympy import symbols\nx = symbols('x')", True),
        ("v1 = 3 (* boxes *)\nv2 = 5", True),
        ("n0 = 80.0\nt0 = n0 / 100.0", True),
        ("total = 6\nneeded = Ceiling[total/9]", True),
        ("x = 5\ny = 3", False),
        ("The ratio = 5 and the cost = 7", False),
        ("We import 5 cars and print 3 pages.", False),
        ("16 - 3 = 13\n13 - 4 = 9", False),
    ],
)
def test_programs_are_told_from_working(output, program):
    assert is_program(output) == program
    assert (stated(output).way == "program") == program


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("\\dfrac{1}{2}", "\\frac12"),
        ("\\left( 3, \\frac{\\pi}{2} \\right)", "(3,\\frac{\\pi}{2})"),
        ("5,\\!460", "5460"),
        ("10{,}000", "$10,000$"),
        ("864 \\mbox{ inches}^2", "864"),
        ("\\text{(C)}", "C"),
        ("\\text{Sunday}", "sunday"),
        ("90^\\circ", "90"),
        ("y = 3x^2 + 1", "3x^2+1"),
        (".5", "0.5"),
        ("3/4", "\\frac{3}{4}"),
        ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"),
    ],
)
def test_two_ways_to_write_one_thing_are_one_string(text, same):
    assert squeezed(text) == squeezed(same)


@pytest.mark.parametrize(
    ("output", "gold", "right"),
    [
        ("The answer is $11x + 6y + 86 = 0$", "0", False),
        ("The answer is $2 \\cdot 3 + 1 = 7$", "7", True),
        ("The answer is $A = 9 \\pi = \\pi \\cdot 9$", "9\\pi", True),
    ],
)
def test_an_equation_is_no_value_but_a_calculation_has_one(output, gold, right, prover):
    assert judge("math", output, gold, prover).right == right


def test_a_pair_is_no_number_with_thousands():
    assert cleaned("(6,100)") == "(6,100)"
    assert squeezed("(6,100)") == squeezed("(6, 100)")
    assert cleaned("7,9,12,13") == "7,9,12,13"


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("72", "72"),
        ("So 48/2 = 24\n#### 72", "72"),
        ("Then $x=\\boxed{\\frac{1}{2}}$.", "\\frac{1}{2}"),
        ("So our answer is $10 - 4 = \\boxed{6}$ marbles.", "6"),
        ("The answer is not $3$ but $\\boxed{4}$.", "4"),
        ("Thus answer: we check. The value is $\\boxed{x^2}$", "x^2"),
    ],
)
def test_a_worked_solution_gives_its_gold_answer(answer, gold):
    assert gold_of(answer) == gold


@pytest.fixture(scope="module")
def real_sets():
    """Task → file, in the folder that S2L_TEST_SETS names."""
    if (folder := os.environ.get("S2L_TEST_SETS")) is None:
        pytest.skip("NOT CHECKED ON THE REAL SETS: S2L_TEST_SETS must name a folder of gsm8k.jsonl, math.jsonl, …")
    return EvaluateSettings(tasks=TASKS, data=(folder,)).data_of_tasks()


def shuffled(golds, seed):
    ids = np.array([b"%024d" % place for place in range(len(golds))])
    return [golds[place] for place in np.argsort(keyed.keys(seed, "shuffled gold", ids), kind="stable")]


@pytest.mark.parametrize("task", TASKS)
def test_real_gold_is_right_and_shuffled_gold_as_seldom_as_chance(task, prover, real_sets):
    golds = [gold_of(json.loads(line)["answer"]) for line in Path(real_sets[task]).read_bytes().split(b"\n") if line]
    for form in FORMS:
        wrong = [gold for gold in golds if not judge(task, form.format(gold), gold, prover).right]
        assert not wrong, wrong[:5]
    others = shuffled(golds, 0)
    right = [
        judge(task, f"The answer is {other}", gold, prover).right for other, gold in zip(others, golds, strict=True)
    ]
    equal = [other == gold for other, gold in zip(others, golds, strict=True)]
    print(f"{task}: {len(golds)} gold answers right; shuffled {np.mean(right):.2%}, equal {np.mean(equal):.2%}")
    assert np.mean(right) <= np.mean(equal) + 0.01
