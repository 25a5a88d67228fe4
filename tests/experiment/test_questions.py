"""The split by question: no question on two sides, the sizes asked for, and no say of the rows' order."""

import re
from pathlib import Path

import numpy as np
import pytest
from experiment_toys import question_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from s2l.config import PoolSettings
from s2l.data.pool import read_pool
from s2l.errors import DataError, RunFolderError, SettingsError
from s2l.experiment.questions import NOWHERE, PARTS, part_of, question_of, split
from s2l.experiment.recipe import LAST_REQUEST, SplitSettings
from s2l.progress import SILENT
from s2l.types import Example, Turn
from toy_runs import write_jsonl

STYLE = re.compile(LAST_REQUEST, re.IGNORECASE)


def asked(text):
    return question_of(Example((Turn("user", text), Turn("assistant", "42", trained=True))), STYLE)


@pytest.mark.parametrize(
    "text",
    [
        "Each ticket costs $9. How much do 4 tickets cost?",
        "each ticket costs $ 9.0 . How much do 4.0 tickets cost ? Let's write a Wolfram Language program.",
        "Each ticket costs $9. How much do 4 tickets cost? Please write a Python program to solve it.",
        "Each ticket costs $9. How much do 4 tickets cost? Let's think about the multi-choice question.",
        "Each ticket costs $9. How much do 4 tickets cost?\nLet's reason step by step.",
        "Each ticket costs $9. How much do 4 tickets cost? Answer Choices: (A) 36 (B) 13 (C) 5. Let's go.",
        "Each ticket costs $9. How much do 4 tickets cost?\nOptions:\nA) 36\nB) 13",
    ],
)
def test_one_question_in_many_styles_is_one(text):
    assert asked(text) == asked("EACH TICKET costs $ 9 . How much do 4 tickets cost?")


@pytest.mark.parametrize(
    "text", ["Each ticket costs $9.05. How much do 4 tickets cost?", "How much do 4 tickets cost?"]
)
def test_another_question_is_another(text):
    assert asked(text) != asked("Each ticket costs $9. How much do 4 tickets cost?")


def test_a_question_without_letters_or_digits_is_itself():
    assert asked("+ + ?") != asked("- - ?")
    assert asked("Please write a poem.") != asked("Let's dance.")


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    path = write_jsonl(tmp_path_factory.mktemp("questions") / "pool.jsonl", question_rows())
    return read_pool(PoolSettings(paths=(str(path),)))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 100), st.integers(1, 60), st.integers(0, 60), st.one_of(st.none(), st.integers(1, 100)))
def test_no_question_stands_on_two_sides_and_sizes_are_met(pool, seed, heldout, pretrain, size):
    wanted = SplitSettings(
        heldout=str(heldout),
        pretrain=str(pretrain) if pretrain else None,
        pool=None if size is None else str(size),
        seed=seed,
    )
    part_N = part_of(pool, wanted)
    sides = {}
    for row, part in enumerate(part_N):
        sides.setdefault(question_of(pool.example(row), STYLE), set()).add(part)
    assert all(len(parts) == 1 for parts in sides.values())
    counts = np.bincount(part_N[part_N != NOWHERE], minlength=len(PARTS))
    assert abs(counts[0] - heldout) <= 2 and abs(counts[1] - pretrain) <= 2
    assert counts.sum() == len(pool) if size is None else abs(counts[2] - size) <= 2


def test_row_order_does_not_matter_but_the_seed_does(pool, tmp_path):
    rows = question_rows()
    backwards = read_pool(PoolSettings(paths=(str(write_jsonl(tmp_path / "pool.jsonl", rows[::-1])),)))
    wanted = SplitSettings(heldout="30%")
    ours, theirs = part_of(pool, wanted), part_of(backwards, wanted)
    assert dict(zip(pool.rows.ids, ours, strict=True)) == dict(zip(backwards.rows.ids, theirs, strict=True))
    assert (part_of(pool, SplitSettings(heldout="30%", seed=1)) != ours).any()


def test_parts_hold_the_rows_byte_for_byte_and_all_of_them(pool, tmp_path):
    source = PoolSettings(paths=pool.rows.files)
    told = split(source, SplitSettings(heldout="10%", pretrain="20%"), tmp_path / "parts", SILENT)
    lines = [line for part in PARTS for line in (tmp_path / "parts" / part / "pool.jsonl").read_bytes().splitlines()]
    assert sorted(lines) == sorted(Path(pool.rows.files[0]).read_bytes().splitlines())
    assert sum(told["rows"].values()) == 300 and told["unused"] == 0


def test_a_split_is_made_once_and_not_from_other_rows(pool, tmp_path):
    copy = write_jsonl(tmp_path / "pool.jsonl", question_rows())
    wanted, folder = SplitSettings(heldout="10%"), tmp_path / "parts"
    told = split(PoolSettings(paths=(str(copy),)), wanted, folder, SILENT)
    assert split(PoolSettings(paths=(str(copy),)), wanted, folder, SILENT) == told
    write_jsonl(copy, question_rows(100))
    with pytest.raises(RunFolderError, match="changed"):
        split(PoolSettings(paths=(str(copy),)), wanted, folder, SILENT)


def test_a_part_that_cannot_be_is_one_line(pool, tmp_path):
    source = PoolSettings(paths=pool.rows.files)
    with pytest.raises(SettingsError, match="400 is 400 rows"):
        split(source, SplitSettings(heldout="400"), tmp_path / "a", SILENT)
    with pytest.raises(SettingsError, match="heldout 100, pool 250: 350 rows; there are 300 that can be used"):
        split(source, SplitSettings(heldout="100", pool="250"), tmp_path / "c", SILENT)
    with pytest.raises(DataError, match="no row is left for the part pool"):
        split(source, SplitSettings(heldout="100%"), tmp_path / "b", SILENT)
