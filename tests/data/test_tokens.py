"""Pool → Tokens: what is encoded, what counts, what is cut or left out, and Tokens on disk."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_tokenizers import (
    CHATML,
    MARKED,
    MARKS_NOTHING,
    REFUSES_SYSTEM,
    answer,
    byte_level,
    metaspace,
    pool_of,
    user,
)

from s2l import types
from s2l.config import TokenSettings
from s2l.data.encode import probe_tokenizer
from s2l.data.templates import render
from s2l.data.tokens import load_tokens, save_tokens, segment_texts, tokenize
from s2l.errors import DataError, RunFolderError, SettingsError
from s2l.types import Example, Tokens, Turn

PLAIN, WITH_BOS = byte_level(), byte_level(bos=True)
QUESTION = Example((user("What is two and two?"), answer("It is four.")))
CONVERSATION = (user("hi"), answer("yo"), user("two?"), answer("four"))
PREAMBLE = "Below is an instruction that describes a task. Write a response that appropriately completes the request."


def tokens_of(*examples, tokenizer=PLAIN, format="pair", excluded=None, named=None, **settings):
    pool = pool_of(*examples, format=format, excluded=excluded)
    return tokenize(pool, tokenizer, TokenSettings(tokenizer=named, **settings), builtin=False)


def decoded(tokens: Tokens, tokenizer=PLAIN, row: int = 0) -> tuple[str, str]:
    """Row `row` as text, and what of it counts."""
    span = slice(*tokens.start_N[row : row + 2])
    ids = tokens.input_ids[span]
    return tokenizer.decode(ids), tokenizer.decode(ids[tokens.counted[span]])


def test_a_row_is_prompt_and_response_and_end_and_the_last_two_count():
    whole, counted = decoded(tokens_of(QUESTION))
    assert whole == f"{PREAMBLE}\n\n### Instruction:\nWhat is two and two?\n\n### Response:It is four.<eos>"
    assert counted == "It is four.<eos>"


def test_the_tokenizers_bos_comes_first_and_its_own_end_is_not_doubled():
    assert probe_tokenizer(WITH_BOS).bos == (WITH_BOS.convert_tokens_to_ids("<bos>"),)
    assert probe_tokenizer(PLAIN).bos == ()
    assert decoded(tokens_of(QUESTION, tokenizer=WITH_BOS, template="short"), WITH_BOS) == (
        "<bos>Q: What is two and two?\nA: It is four.<eos>",
        "It is four.<eos>",
    )


def test_a_metaspace_tokenizer_works_as_well():
    tokenizer = metaspace()
    whole, counted = decoded(tokens_of(QUESTION, tokenizer=tokenizer, template="short"), tokenizer)
    assert whole == "<s> Q: What is two and two?\nA:  It is four.</s>"
    assert counted == "It is four.</s>"


def test_every_segment_is_encoded_on_its_own():
    tokens = tokens_of(Example((user("two"), answer(" two"))), template="short")
    encode = PLAIN.backend_tokenizer.encode
    assert tokens.input_ids.tolist() == [*encode("Q: two\nA: ").ids, *encode(" two").ids, PLAIN.eos_token_id]


@pytest.mark.parametrize("tokenizer", [PLAIN, WITH_BOS, metaspace()])
def test_text_that_spells_an_end_token_stays_text(tokenizer):
    end = tokenizer.eos_token
    tokens = tokens_of(Example((user(f"a{end}b"), answer(f"c{end}d"))), tokenizer=tokenizer)
    assert np.flatnonzero(tokens.input_ids == tokenizer.eos_token_id).tolist() == [len(tokens.input_ids) - 1]
    assert decoded(tokens, tokenizer)[1] == f"c{end}d{end}"


def test_the_users_tokenizer_is_left_as_it_was():
    tokenizer = byte_level()
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=64)
    before = tokenizer.backend_tokenizer.to_str()
    assert decoded(tokens_of(QUESTION, tokenizer=tokenizer))[1] == "It is four.<eos>"
    assert tokenizer.backend_tokenizer.to_str() == before
    assert not tokenizer.backend_tokenizer.encode_special_tokens


def test_text_rows_count_whole_but_for_the_first_token():
    document = Example((Turn("text", "red, green", trained=True),))
    tokens = tokens_of(document, format="text")
    assert decoded(tokens)[0] == "red, green<eos>"
    assert tokens.counted.tolist() == [False] + [True] * (len(tokens.input_ids) - 1)
    assert decoded(tokens_of(document, format="text", tokenizer=WITH_BOS), WITH_BOS) == (
        "<bos>red, green<eos>",
        "red, green<eos>",
    )


def test_cutting_happens_after_the_end_token_was_added_and_none_is_put_back():
    uncut = tokens_of(QUESTION, template="short")
    length = len(uncut.input_ids)
    exact = tokens_of(QUESTION, template="short", max_length=length)
    assert exact.input_ids.tolist() == uncut.input_ids.tolist()
    assert not exact.truncated_N[0]
    cut = tokens_of(QUESTION, template="short", max_length=length - 1)
    assert cut.input_ids.tolist() == uncut.input_ids.tolist()[:-1]
    assert cut.truncated_N[0]
    assert decoded(cut)[1] == "It is four."


def test_rows_without_a_loss_are_left_out_with_their_reasons():
    rows = {
        "no response token within max_length": Example((user("What is two and two? " * 9), answer("4"))),
        "empty response": Example((user("hi"), answer(" "))),
        "no assistant turn": Example((user("hi"),)),
        "nothing marked to train on": Example((user("hi"), answer("yo", trained=False))),
        "text is not valid Unicode (lone surrogate)": Example((user("hi"), answer("\ud800"))),
    }
    pool = pool_of(QUESTION, *rows.values())
    tokens = tokenize(pool, PLAIN, TokenSettings(template="short", max_length=48), builtin=False)
    assert tokens.ids.tolist() == pool.rows.ids[:1].tolist()
    assert tokens.excluded == dict(zip(pool.rows.ids[1:].tolist(), rows, strict=True))


def test_rows_the_reader_excluded_are_skipped():
    other = Example((user("hi"), answer("yo")))
    tokens = tokens_of(QUESTION, other, excluded={0: "malformed: x"})
    assert (len(tokens), tokens.excluded) == (1, {})
    assert decoded(tokens)[1] == "yo<eos>"


def test_a_pool_without_any_row_left_is_one_line():
    empty = Example((user("hi"), answer("")))
    with pytest.raises(DataError) as error:
        tokens_of(Example((user("hi"),)), empty, empty)
    assert str(error.value) == "no row of the pool can be scored: 2 of 3: empty response (first: toy.jsonl:2)"
    with pytest.raises(DataError, match="all were excluded while reading"):
        tokens_of(QUESTION, excluded={0: "malformed: x"})


@pytest.mark.parametrize("template", [CHATML, MARKED])
def test_chat_counts_answers_and_end_tokens_by_their_characters(template):
    tokenizer = byte_level(template)
    turns = (user("¿dos?"), answer("  cuatro 🙂\n\n  "), *CONVERSATION)
    whole, counted = decoded(tokens_of(Example(turns), tokenizer=tokenizer, format="messages"), tokenizer)
    assert whole.startswith("<|im_start|>user\n¿dos?<|im_end|>\n<|im_start|>assistant\n  cuatro")
    assert counted == "  cuatro 🙂\n\n  <|im_end|>yo<|im_end|>four<|im_end|>"


def test_chat_encodes_as_the_tokenizer_itself_does():
    tokenizer = byte_level(MARKED, bos=True)
    tokens = tokens_of(Example(CONVERSATION), tokenizer=tokenizer, format="messages")
    messages = [{"role": turn.role, "content": turn.text} for turn in CONVERSATION]
    theirs = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    assert tokens.input_ids.tolist() == theirs["input_ids"]
    newlines = tokenizer.convert_ids_to_tokens(theirs["input_ids"])
    after_end = [mask and piece == "Ċ" for mask, piece in zip(theirs["assistant_masks"], newlines, strict=True)]
    assert tokens.counted.tolist() == [
        bool(mask) and not after for mask, after in zip(theirs["assistant_masks"], after_end, strict=True)
    ]


def test_a_row_that_the_chat_template_refuses_is_left_out_and_all_of_them_are_an_error():
    tokenizer = byte_level(REFUSES_SYSTEM)
    refused = Example((Turn("system", "s"), *CONVERSATION))
    tokens = tokens_of(refused, Example(CONVERSATION), tokenizer=tokenizer, format="messages")
    assert list(tokens.excluded.values()) == [r"chat template: 'no system\nrole'"]
    with pytest.raises(DataError, match="1 of 1: chat template: 'no system"):
        tokens_of(refused, tokenizer=tokenizer, format="messages")


def test_generation_marks_that_mark_nothing_stop_with_the_place():
    with pytest.raises(DataError, match=r"^toy\.jsonl:1: the chat template's \{% generation %\} marks none"):
        tokens_of(Example(CONVERSATION), tokenizer=byte_level(MARKS_NOTHING), format="messages")


def test_tokenized_rows_stay_as_they_are():
    given = Example(input_ids=(5, 6, 7, 8, 9), labels=(5, -100, 7, 8, -100))
    tokens = tokens_of(given, format="tokenized", named="toy", max_length=4)
    assert tokens.input_ids.tolist() == [5, 6, 7, 8]
    assert tokens.counted.tolist() == [False, False, True, True]
    assert tokens.truncated_N.tolist() == [True]


def test_tokenized_rows_without_labels_count_whole():
    tokens = tokens_of(Example(input_ids=(0, 0, 0)), format="tokenized", named="toy")
    assert tokens.counted.tolist() == [False, True, True]


def test_tokenized_rows_that_cannot_be_trained_on_are_left_out():
    tokens = tokens_of(
        Example(input_ids=(5, 6), labels=(-100, 6)),
        Example(input_ids=(5, 6), labels=(5, -100)),
        Example(input_ids=(5, 6), labels=(-100, 7)),
        Example(input_ids=(5, 6), labels=(-100,)),
        format="tokenized",
        named="toy",
    )
    assert sorted(tokens.excluded.values()) == [
        "labels are not the input ids or -100",
        "labels are not the input ids or -100",
        "nothing marked to train on",
    ]


@pytest.mark.parametrize("stranger", [-1, 400, 10**30])
def test_a_token_id_outside_the_vocabulary_is_one_line(stranger):
    with pytest.raises(DataError) as error:
        tokens_of(Example(input_ids=(5, stranger)), format="tokenized", named="toy")
    assert str(error.value) == (
        f"toy.jsonl:1: token id '{stranger}' is not one of the tokenizer's {len(PLAIN)}; "
        "name the tokenizer that made the rows: --tokenizer NAME"
    )


def test_tokenized_rows_must_name_their_tokenizer():
    with pytest.raises(SettingsError, match="--tokenizer NAME"):
        tokens_of(Example(input_ids=(5, 6)), format="tokenized")


def test_a_tokenizer_without_an_end_token_or_a_fast_form_is_one_line():
    with pytest.raises(SettingsError, match="has no end token"):
        tokens_of(QUESTION, tokenizer=byte_level(eos=None))
    with pytest.raises(SettingsError, match=r"tokenizer 'object' has no fast form"):
        tokens_of(QUESTION, tokenizer=object())


def test_row_order_and_batches_do_not_matter(monkeypatch):
    examples = [Example((user(f"Name {i}"), answer(f"green {i}"))) for i in range(7)]
    one = tokens_of(*examples)
    monkeypatch.setattr("s2l.data.prepare.BATCH_ROWS", 2)
    monkeypatch.setattr("s2l.data.prepare.BATCH_BYTES", 150)
    assert_same(one, tokens_of(*examples[::-1]))


def test_a_tokenizer_is_fitted_on_what_will_be_encoded():
    pool = pool_of(QUESTION, Example((user("hi"), answer(""))), Example((user("\ud800"), answer("yo"))))
    assert list(segment_texts(pool, "short")) == ["Q: What is two and two?\nA: ", "It is four."]


@given(st.lists(st.tuples(st.text(), st.text(min_size=1)), min_size=1, max_size=4, unique=True))
def test_counted_tokens_decode_to_the_answer_and_all_of_them_to_the_rendered_text(pairs):
    examples = [Example((user(q), answer(a))) for q, a in pairs if a.strip()]
    if not examples:
        return
    pool = pool_of(*examples)
    tokens = tokenize(pool, PLAIN, TokenSettings(max_length=10_000), builtin=True)
    by_id = dict(zip(pool.rows.ids.tolist(), examples, strict=True))
    for row, id_ in enumerate(tokens.ids.tolist()):
        text = "".join(segment.text for segment in render(by_id[id_], "short"))
        assert decoded(tokens, row=row) == (text + "<eos>", by_id[id_].turns[1].text + "<eos>")


def test_tokens_come_back_from_disk_as_they_were(tmp_path):
    examples = [Example((user(f"Name {i}"), answer("green" * (i % 3)))) for i in range(9)]
    tokens = tokens_of(*examples, template="short", max_length=12)
    assert tokens.truncated_N.any()
    assert tokens.excluded
    save_tokens(tokens, tmp_path / "tokens.arrow")
    loaded = load_tokens(tmp_path / "tokens.arrow")
    assert_same(tokens, loaded)
    assert not loaded.input_ids.flags.owndata
    assert [path.name for path in tmp_path.iterdir()] == ["tokens.arrow"]


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99, None])
def test_a_missing_or_damaged_file_is_one_line(tmp_path, keep):
    path = tmp_path / "tokens.arrow"
    if keep is not None:
        save_tokens(tokens_of(QUESTION), path)
        whole = path.read_bytes()
        path.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    with pytest.raises(RunFolderError, match=r"tokens\.arrow: no tokens, or damaged"):
        load_tokens(path)


def test_a_changed_byte_is_never_read_as_other_tokens(tmp_path):
    path = tmp_path / "tokens.arrow"
    tokens = tokens_of(QUESTION, Example((user("hi"), answer(""))))
    save_tokens(tokens, path)
    whole = path.read_bytes()
    refused = 0
    for at in range(0, len(whole), 5):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            assert_same(tokens, load_tokens(path))
        except RunFolderError:
            refused += 1
    assert refused > len(whole) / 10


def assert_same(one: Tokens, other: Tokens) -> None:
    for name in ("ids", "input_ids", "counted", "start_N", "truncated_N"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype
    assert one.excluded == other.excluded


def test_response_tokens_are_counted_a_few_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(types, "AT_ONCE", 3)
    rows = [[True, False], [False, True, True], [False, True], [False, False, True], [True], [False, True, True, True]]
    counted = np.array([value for row in rows for value in row])
    ids = np.array([b"%024d" % i for i in range(len(rows))])
    start_N = np.cumsum([0, *map(len, rows)])
    tokens = Tokens(ids, np.zeros(len(counted), np.int32), counted, start_N, np.zeros(len(rows), dtype=bool))
    assert tokens.response_lengths.tolist() == [sum(row) for row in rows]
