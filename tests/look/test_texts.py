"""Text of rows is cut, printable, and in pieces that are treated alike."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from look_toys import HARM
from s2l.data.templates import STYLES
from s2l.errors import printable, without_quotes
from s2l.look.texts import GAP, HEAD, MOST_LINES, TAIL, alike, cut, middle_out, pieces_of, without_preamble
from s2l.proxy.builtin import fit_tokenizer

ANYTHING = st.text(st.characters(exclude_categories=[]), max_size=700)
MOST = HEAD + TAIL + len(GAP)


@given(text=ANYTHING, most=st.integers(5, 50))
def test_a_line_is_printable_and_never_longer_than_asked_for(text: str, most: int) -> None:
    line = cut(text, most)
    assert len(line) <= most
    assert line == printable(line)
    if len(printable(text)) <= most:
        assert line == printable(text)


@given(text=ANYTHING)
def test_a_piece_is_printable_but_for_its_few_line_breaks_and_keeps_its_ends(text: str) -> None:
    piece = middle_out(text)
    assert len(piece) <= MOST
    assert piece.count("\n") < MOST_LINES
    assert all(line == printable(line) for line in piece.split("\n"))
    if len(text) <= HEAD + TAIL and text == printable(text):
        assert piece == text


@pytest.mark.parametrize("harm", HARM.values(), ids=list(HARM))
def test_harm_is_cut_and_printable(harm: str) -> None:
    assert len(middle_out(harm)) <= MOST
    assert len(cut(harm, 40)) <= 40


def test_a_long_text_shows_its_beginning_and_its_end() -> None:
    piece = middle_out("begin " + "x" * 10_000 + " end")
    assert piece.startswith("begin ")
    assert piece.endswith(" end")
    assert GAP in piece


@given(values=st.lists(st.integers(0, 2), max_size=30))
def test_runs_of_equal_values_cover_all_and_alternate(values: list[int]) -> None:
    runs = list(alike(np.array(values, dtype=np.int64)))
    assert [value for start, stop, value in runs for _ in range(start, stop)] == values
    assert all(a[2] != b[2] for a, b in itertools.pairwise(runs))


def test_pieces_are_the_tokens_in_order_and_what_is_cut_off_does_not_count() -> None:
    tokenizer = fit_tokenizer(["Q: one two three\nA: four five"] * 3, 300)
    ids = np.array(tokenizer("Q: one two three\nA: four five")["input_ids"], dtype=np.int32)
    counted = np.arange(len(ids)) >= len(ids) - 6
    whole = pieces_of(ids, counted, tokenizer.backend_tokenizer)
    assert "".join(piece["text"] for piece in whole) == "Q: one two three\nA: four five"
    assert [piece["counted"] for piece in whole] == [False, True]
    shorter = pieces_of(ids, counted, tokenizer.backend_tokenizer, len(ids) - 2)
    assert [(piece["tokens"], piece["counted"], piece["cut_off"]) for piece in shorter] == [
        (len(ids) - 6, False, False),
        (4, True, False),
        (2, False, True),
    ]
    assert "".join(piece["text"] for piece in shorter) == "Q: one two three\nA: four five"


def test_many_tokens_are_decoded_at_their_ends_only() -> None:
    tokenizer = fit_tokenizer(["word"], 300)
    ids = np.array(tokenizer("begin" + "word" * 100_000 + "end")["input_ids"], dtype=np.int32)
    (piece,) = pieces_of(ids, np.ones(len(ids), dtype=bool), tokenizer.backend_tokenizer)
    assert piece["text"].startswith("beginword")
    assert piece["text"].endswith("wordend")
    assert len(piece["text"]) <= MOST


def test_the_templates_own_words_do_not_hide_the_row() -> None:
    for preamble in STYLES["alpaca"].preambles or ():
        assert without_preamble(f"{preamble}\n\n### Instruction:\nAdd.") == "### Instruction:\nAdd."
    assert without_preamble("Q: Add.") == "Q: Add."


def test_what_a_message_quotes_is_without_quotes() -> None:
    assert without_quotes("malformed: near 'my secret'; wanted 'this'") == "malformed: near '…'"
    assert without_quotes("empty response") == "empty response"
