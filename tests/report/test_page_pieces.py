"""A row's tokens as text with losses; text that cannot be seen, or is too long."""

import numpy as np

from s2l.proxy.builtin import fit_tokenizer
from s2l.report.page.draw import as_data
from s2l.report.page.pieces import MOST_PIECES, MOST_TEXT, Piece, cut, pieces_of
from s2l.report.page.words import legible, name_of, place_of


def test_tokens_that_only_together_spell_a_character_share_a_piece() -> None:
    tokenizer = fit_tokenizer(["plain words only"], 300)
    ids = np.array(tokenizer.encode("ab🦆c"))
    assert len(ids) == 7
    counted = np.array([False, *[True] * 6])
    losses = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert pieces_of(ids, counted, losses, tokenizer) == [
        Piece("a"),
        Piece("b", 1.0),
        Piece("🦆", 3.5),
        Piece("c", 6.0),
    ]
    assert pieces_of(ids[:5], counted[:5], losses[:4], tokenizer)[-1] == Piece("\ufffd", 3.0)


def test_tokens_that_do_not_count_are_one_piece() -> None:
    tokenizer = fit_tokenizer(["one two"], 300)
    ids = np.array(tokenizer.encode("xyz"))
    found = pieces_of(ids, np.array([False, True, False]), None, tokenizer)
    assert found == [Piece("x"), Piece("y", 0.0), Piece("z")]


def test_what_cannot_be_seen_is_spelled_out() -> None:
    assert legible("a\tb\nc é 漢 🦆") == "a\tb\nc é 漢 🦆"
    assert legible("\x1b[31m\u202egpj\u2028\r\x00") == "\\x1b[31m\\u202egpj\\u2028\\r\\x00"
    assert name_of("a\nb\u202e") == "a\\nb\\u202e"
    assert name_of(" ") == "(empty)"
    assert len(name_of("x" * 10**6)) == 81
    assert place_of("folder/of <me>/pool.jsonl:7") == "pool.jsonl:7"


def test_a_long_row_is_cut_and_says_how_much_is_missing() -> None:
    long = [Piece("p" * 1_000), *[Piece("response", 1.0)] * 5_000]
    shown, left_out = cut(long)
    note = "\n… 400 characters left out …\n"
    assert shown[0].text == "p" * 400 + note + "p" * 200
    assert sum(len(piece.text) for piece in shown) == MOST_TEXT
    assert left_out == 1_000 + 8 * 5_000 - (MOST_TEXT - len(note))
    shown, left_out = cut([Piece("r", 1.0)] * 1_000)
    assert (len(shown), left_out) == (MOST_PIECES, 1_000 - MOST_PIECES)
    assert cut([Piece("a"), Piece("b", 1.0)]) == ([Piece("a"), Piece("b", 1.0)], 0)


def test_a_row_takes_little_room_whatever_it_holds() -> None:
    worst = [Piece("<" * 10_000), *[Piece("<<", 12.34)] * 10_000]
    shown, _ = cut(worst)
    assert len(as_data([p.text if p.loss is None else [p.text, p.loss] for p in shown])) < 14_000
