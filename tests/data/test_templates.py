"""Templates: the text of a row and which pieces of it count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_tokenizers import (
    CHATML,
    CLOSES,
    DATED,
    MARKED,
    MARKS_NOTHING,
    REFUSES_SYSTEM,
    STRIPS_THOUGHTS,
    WITH_TOOLS,
    answer,
    byte_level,
    user,
)

from s2l.data.templates import RowError, choose_template, render
from s2l.errors import DataError, SettingsError
from s2l.types import Example, Turn

CHATML_TOKENIZER, MARKED_TOKENIZER = byte_level(CHATML), byte_level(MARKED)
CONVERSATION = (user("hi"), answer("yo"), user("two?"), answer("four"))
FIRST_UNTRAINED = (user("hi"), answer("yo", trained=False), user("two?"), answer("four"))


def text_of(segments):
    return "".join(segment.text + "<eos>" * segment.ended for segment in segments)


def counted_of(segments):
    return [segment.text for segment in segments if segment.counted]


def test_alpaca_is_the_papers_prompt():
    segments = render(Example((user("Add 1 and 2."), answer("3"))), "alpaca")
    assert text_of(segments) == (
        "Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nAdd 1 and 2.\n\n### Response:3<eos>"
    )
    assert counted_of(segments) == ["3"]


def test_alpaca_with_an_input_has_its_own_preamble():
    segments = render(Example((user("Add."), Turn("input", "1 2"), answer("3"))), "alpaca")
    assert text_of(segments) == (
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:3<eos>"
    )


def test_alpaca_repeats_its_blocks_and_a_system_turn_replaces_the_preamble():
    segments = render(Example((Turn("system", "Be brief."), *CONVERSATION)), "alpaca")
    assert text_of(segments) == (
        "Be brief.\n\n### Instruction:\nhi\n\n### Response:yo<eos>\n\n### Instruction:\ntwo?\n\n### Response:four<eos>"
    )
    assert counted_of(segments) == ["yo", "four"]


def test_short_joins_the_input_to_the_question():
    segments = render(Example((user("Add."), Turn("input", "1 2"), answer("3"))), "short")
    assert text_of(segments) == "Q: Add.\n1 2\nA: 3<eos>"


def test_turns_names_every_speaker():
    turns = (Turn("system", "Be brief."), user("hi"), answer("call"), Turn("tool", "42"), answer("yo"), user("bye"))
    segments = render(Example(turns, tools='[{"name":"f"}]'), "turns")
    assert text_of(segments) == (
        'Tools: [{"name":"f"}]\nSystem: Be brief.\nUser: hi\nAssistant: call<eos>\n'
        "Tool: 42\nAssistant: yo<eos>\nUser: bye"
    )


def test_an_untrained_answer_is_ended_but_not_counted():
    segments = render(Example(FIRST_UNTRAINED), "turns")
    assert [(s.text, s.counted) for s in segments if s.ended] == [("yo", False), ("four", True)]


def test_plain_text_counts_whole():
    segments = render(Example((Turn("text", "Once upon", trained=True),)), "text")
    assert [(s.text, s.counted, s.ended) for s in segments] == [("Once upon", True, True)]


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ((user("hi"),), "no assistant turn"),
        ((user("hi"), answer("yo", trained=False)), "nothing marked to train on"),
        ((user("hi"), answer(" \n")), "empty response"),
        ((user("hi"), answer("yo", trained=False), answer("")), "empty response"),
    ],
)
def test_a_row_without_anything_to_learn_says_why(turns, reason):
    with pytest.raises(RowError, match=reason):
        render(Example(turns), "turns")


@pytest.mark.parametrize("template", [CHATML, MARKED])
def test_chat_counts_every_answer_with_its_end_token(template):
    segments = render(Example(CONVERSATION), "chat", byte_level(template))
    assert counted_of(segments) == ["yo<|im_end|>", "four<|im_end|>"]
    assert text_of(segments) == (
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyo<|im_end|>\n"
        "<|im_start|>user\ntwo?<|im_end|>\n<|im_start|>assistant\nfour<|im_end|>\n"
    )


@pytest.mark.parametrize("template", [CHATML, MARKED])
def test_chat_does_not_count_an_untrained_answer(template):
    assert counted_of(render(Example(FIRST_UNTRAINED), "chat", byte_level(template))) == ["four<|im_end|>"]


def test_chat_joins_the_input_to_the_instruction():
    turns = (Turn("system", "s"), user("Add."), Turn("input", "1 2"), answer("3"))
    assert "user\nAdd.\n1 2<|im_end|>" in text_of(render(Example(turns), "chat", byte_level(CHATML)))


def test_chat_hands_tools_to_the_template():
    text = text_of(render(Example(CONVERSATION, tools='[{"name":"f"}]'), "chat", byte_level(WITH_TOOLS)))
    assert text.startswith('[{"name": "f"}]\n<|im_start|>')


def test_chat_with_a_closing_token_counts_the_turns_own_end_alone():
    segments = render(Example(CONVERSATION), "chat", byte_level(CLOSES))
    assert counted_of(segments) == ["yo<|im_end|>", "four<|im_end|>"]
    assert text_of(segments).endswith("<|im_end|>\n<eos>")


def test_the_end_token_of_the_turn_may_be_eos_itself():
    template = "{% for m in messages %}{{ '[' + m.role + ']' + m.content + eos_token }}{% endfor %}"
    template += "{% if add_generation_prompt %}[assistant]{% endif %}"
    assert counted_of(render(Example(CONVERSATION), "chat", byte_level(template))) == ["yo<eos>", "four<eos>"]


def test_chat_that_rewrites_earlier_answers_refuses_the_row():
    thinking = (user("hi"), answer("<think>hm</think>yo"), user("two?"), answer("<think>2+2</think>four"))
    tokenizer = byte_level(STRIPS_THOUGHTS)
    with pytest.raises(RowError, match="chat template rewrites earlier turns"):
        render(Example(thinking), "chat", tokenizer)
    assert counted_of(render(Example(thinking[:2]), "chat", tokenizer)) == ["<think>hm</think>yo<|im_end|>"]
    last_only = (thinking[0], answer(thinking[1].text, trained=False), *thinking[2:])
    assert counted_of(render(Example(last_only), "chat", tokenizer)) == ["<think>2+2</think>four<|im_end|>"]


def test_chat_whose_generation_prompt_opens_a_thought_refuses_the_row():
    with pytest.raises(RowError, match="generation prompt is not what it writes before an answer"):
        render(Example(CONVERSATION), "chat", byte_level(CHATML.replace("assistant\n{", "assistant\n<think>{")))


def test_chat_template_that_raises_is_one_line():
    example = Example((Turn("system", "s"), *CONVERSATION))
    with pytest.raises(RowError) as error:
        render(example, "chat", byte_level(REFUSES_SYSTEM))
    assert str(error.value) == r"chat template: 'no system\nrole'"


def test_chat_template_with_a_syntax_error_is_one_line():
    with pytest.raises(RowError, match="chat template: "):
        render(Example(CONVERSATION), "chat", byte_level("{% for m in %}"))


def test_generation_marks_that_mark_nothing_are_an_error():
    with pytest.raises(DataError, match="marks none of the row's answers") as error:
        render(Example(CONVERSATION), "chat", byte_level(MARKS_NOTHING))
    assert not isinstance(error.value, RowError)


def test_generation_marks_that_do_not_pair_with_answers_refuse_an_untrained_one():
    template = MARKED.replace(
        "{{ m.content }}<|im_end|>\n{% endg", "{{ m.content }}{% endgeneration %}{% generation %}x{% endg"
    )
    assert counted_of(render(Example(CONVERSATION), "chat", byte_level(template))) == ["yo", "x", "four", "x"]
    with pytest.raises(RowError, match="do not match the assistant turns"):
        render(Example(FIRST_UNTRAINED), "chat", byte_level(template))


def test_chat_is_the_same_on_another_day():
    assert text_of(render(Example(CONVERSATION), "chat", byte_level(DATED))).startswith("26 Jul 2024\n<|im_start|>")


def test_chat_without_any_usable_template_is_a_setting_to_mend():
    tokenizer = byte_level()
    tokenizer.chat_template = {"a": CHATML, "b": CHATML}
    with pytest.raises(SettingsError, match="chat template: "):
        render(Example(CONVERSATION), "chat", tokenizer)


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1), st.booleans()), min_size=1, max_size=4))
def test_counted_pieces_are_the_trained_answers_under_every_template(pairs):
    turns = [turn for q, a, trained in pairs for turn in (user(q), answer(a, trained))]
    trained = [turn.text for turn in turns if turn.trained]
    if not any(text.strip() for text in trained):
        return
    for template in ("alpaca", "short", "turns"):
        assert counted_of(render(Example(tuple(turns)), template)) == trained
    for chat in (CHATML_TOKENIZER, MARKED_TOKENIZER):
        assert counted_of(render(Example(tuple(turns)), "chat", chat)) == [text + "<|im_end|>" for text in trained]


@pytest.mark.parametrize(
    ("format", "template", "builtin", "chosen"),
    [
        ("instruction", "auto", False, "alpaca"),
        ("pair", "auto", False, "alpaca"),
        ("pair", "auto", True, "short"),
        ("pair", "chat", False, "chat"),
        ("messages", "auto", False, "chat"),
        ("messages", "auto", True, "turns"),
        ("conversations", "alpaca", False, "alpaca"),
        ("text", "auto", False, "text"),
        ("tokenized", "auto", False, "tokenized"),
    ],
)
def test_the_template_follows_the_format_unless_named(format, template, builtin, chosen):
    assert choose_template(format, template, byte_level(CHATML), builtin)[0] == chosen


def test_a_missing_chat_template_is_said():
    chosen, notice = choose_template("messages", "auto", byte_level(), builtin=False)
    assert chosen == "turns"
    assert notice == "template: turns (`User: …`, `Assistant: …`), since the tokenizer has no chat template"


def test_a_template_for_rows_without_turns_is_refused():
    with pytest.raises(SettingsError, match="template alpaca does not fit text rows"):
        choose_template("text", "alpaca", byte_level(), builtin=False)
