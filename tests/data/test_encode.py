"""Batches of rows through the tokenizer: the same as each segment of each row encoded on its own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, normalizers
from toy_tokenizers import byte_level, metaspace

from s2l.data.encode import Encoded, encode_chat, encode_given, encode_plain, probe_tokenizer
from s2l.data.templates import Segment


def with_normal_form(form):
    """As GPT-NeoX: text in a Unicode normal form, runs of spaces are tokens that text may spell."""
    tokenizer = byte_level()
    tokenizer.backend_tokenizer.normalizer = form
    tokenizer.add_tokens([AddedToken(" " * n, normalized=True) for n in (4, 3, 2)])
    return tokenizer


NORMALIZED = [with_normal_form(normalizers.NFC()), with_normal_form(normalizers.NFKD())]
TOKENIZERS = [byte_level(), byte_level(bos=True), metaspace(), *NORMALIZED]
ENCODER = probe_tokenizer(TOKENIZERS[0])
HOSTILE = [
    "",
    " ",
    "a      b",
    "K;",
    "\n\n",
    "<eos>",
    "</s>",
    "<|im_end|>",
    "a\u2028b\u0085c",
    "e\u0301\u0327",
    "🙂👩‍👩‍👧",
    "\x00\x1b[2J",
    "It is 4",
    "ﬁ İ ß",
]
TEXTS = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=12))
SEGMENTS = st.builds(Segment, TEXTS, st.booleans(), st.booleans())
ROWS = st.lists(st.lists(SEGMENTS, max_size=5), max_size=5)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@given(rows=ROWS, max_length=st.integers(1, 30))
def test_plain_rows_are_what_each_segment_gives_on_its_own(tokenizer, rows, max_length):
    encoder = probe_tokenizer(tokenizer)
    naive = []
    encoder.backend.encode_special_tokens = True
    for segments in rows:
        ids, counted = list(encoder.bos), [False] * len(encoder.bos)
        for segment in segments:
            piece = encoder.backend.encode(segment.text, add_special_tokens=False).ids + [encoder.eos] * segment.ended
            ids += piece
            counted += [segment.counted] * len(piece)
        naive.append((ids, counted))
    assert_rows(encode_plain(rows, encoder), naive)
    cut = [(ids[:max_length], [i > 0 and counts for i, counts in enumerate(row[:max_length])]) for ids, row in naive]
    assert_rows(encode_plain(rows, encoder).cut(max_length), cut)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@given(rows=ROWS)
def test_chat_tokens_count_where_they_share_a_character_with_an_answer(tokenizer, rows):
    encoder = probe_tokenizer(tokenizer)
    naive = []
    for segments in rows:
        encoding = tokenizer.backend_tokenizer.from_str(encoder.backend.to_str()).encode(
            "".join(segment.text for segment in segments), add_special_tokens=False
        )
        counts = [segment.counted for segment in segments for _ in segment.text]
        naive.append((encoding.ids, [any(counts[begin:end]) for begin, end in encoding.offsets]))
    assert_rows(encode_chat(rows, encoder), naive)


def test_ascii_text_skips_the_normal_form_unless_a_token_of_the_users_is_not_ascii():
    for tokenizer in NORMALIZED:
        assert probe_tokenizer(tokenizer).ascii_is_normal
    odd = with_normal_form(normalizers.NFC())
    odd.add_tokens([AddedToken("\u212a", normalized=True)])
    assert not probe_tokenizer(odd).ascii_is_normal
    assert not probe_tokenizer(TOKENIZERS[2]).ascii_is_normal


def test_given_rows_stand_end_to_end_and_no_rows_are_no_tokens():
    row = (np.array([5, 6], dtype=np.int32), np.array([False, True]))
    assert_rows(encode_given([row, row], ENCODER), [([5, 6], [False, True])] * 2)
    for encode in (encode_given, encode_plain, encode_chat):
        encoded = encode([], ENCODER)
        assert (len(encoded), len(encoded.input_ids)) == (0, 0)


def test_a_row_without_a_token_that_counts_cannot_be_scored():
    encoded = Encoded(np.arange(4, dtype=np.int32), np.array([True, False, False, True]), np.array([0, 2, 2, 4]))
    assert encoded.can_be_scored.tolist() == [True, False, True]
    assert encoded.cut(1).can_be_scored.tolist() == [False, False, False]


def assert_rows(encoded: Encoded, naive: list) -> None:
    assert [(ids.tolist(), counted.tolist()) for ids, counted in encoded.rows()] == naive
    assert (encoded.input_ids.dtype, encoded.counted.dtype) == (np.int32, np.bool_)
    assert encoded.can_be_scored.tolist() == [any(counted) for _, counted in naive]
