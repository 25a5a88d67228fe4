"""Prompts: the text and tokens that stood before the answer in training, in every template."""

import json

import pytest
from transformers import AutoTokenizer

from s2l.config import PoolSettings, TokenSettings
from s2l.data.pool import read_pool
from s2l.data.tokens import tokenize
from s2l.errors import SettingsError
from s2l.progress import SILENT
from s2l.target.evaluate_settings import EvaluateSettings
from s2l.target.evaluated import opened
from s2l.target.model import TRAINED_ON
from s2l.types import Turn
from toy_runs import tiny_llama, write_jsonl

CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
QUESTIONS = ["Add 3 and 4.", "  Say <|endoftext|> twice.\n", "É ≤ 70? \u2028"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def chatty(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("chatty"), chat_template=CHAT)


@pytest.mark.parametrize("template", ["alpaca", "short", "chat", "turns"])
def test_a_prompt_is_what_stood_before_the_answer_in_training(template, plain, chatty, tmp_path):
    folder = chatty if template == "chat" else plain
    asked = "chat" if template == "turns" else template
    evaluated = opened(str(folder), EvaluateSettings(template=asked, heldout=("x",)))
    assert evaluated.template == template
    rows = [{"question": question, "answer": "seven"} for question in QUESTIONS]
    pool = read_pool(PoolSettings(paths=(str(write_jsonl(tmp_path / "rows.jsonl", rows)),)))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokens = tokenize(pool, tokenizer, TokenSettings(template=asked), builtin=False)
    prompts = {tuple(ids) for ids in evaluated.encode([evaluated.prompt([Turn("user", q)]) for q in QUESTIONS])}
    trained = set()
    for start, stop in zip(tokens.start_N, tokens.start_N[1:], strict=False):
        counted = tokens.counted[start:stop].tolist()
        trained.add(tuple(tokens.input_ids[start : start + counted.index(True)]))
        assert tokens.input_ids[start:stop][tokens.counted[start:stop]][-1] in evaluated.ends
    assert prompts == trained


def test_the_template_is_the_one_of_the_training_unless_another_is_asked_for(plain, tmp_path):
    folder = tiny_llama(tmp_path / "model")
    asked = EvaluateSettings(heldout=("x",))
    assert opened(str(folder), asked).template == "alpaca"
    (folder / TRAINED_ON).write_text(json.dumps({"template": "short", "max_length": 40}))
    trained = opened(str(folder), asked)
    assert (trained.template, trained.max_length) == ("short", 40)
    other = opened(str(folder), asked.model_copy(update={"template": "alpaca", "max_length": 50}))
    assert (other.template, other.max_length) == ("alpaca", 50)
    (folder / TRAINED_ON).write_text(json.dumps({"template": "turns"}))
    assert opened(str(folder), asked).template == "turns"


def test_rows_are_cut_at_what_the_model_can_read(tmp_path):
    folder = tiny_llama(tmp_path / "model", window=64)
    assert opened(str(folder), EvaluateSettings(heldout=("x",))).max_length == 64
    with pytest.raises(SettingsError, match="reads at most 64 tokens"):
        opened(str(folder), EvaluateSettings(heldout=("x",), max_length=65))


def test_a_model_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(SettingsError, match="no such folder; give the path of a local folder"):
        opened(str(tmp_path / "nowhere"), EvaluateSettings(heldout=("x",)))


def test_rows_without_turns_need_no_template(plain, tmp_path):
    evaluated = opened(str(plain), EvaluateSettings(heldout=("x",)))
    pool, tokens = evaluated.read([str(write_jsonl(tmp_path / "t.jsonl", [{"text": "one two three"}]))], SILENT)
    assert pool.format == "text"
    assert len(tokens) == 1
