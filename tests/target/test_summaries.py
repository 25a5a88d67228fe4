"""Summaries: figures against their naive formulas, and what is written for a file of rows."""

import math
import re
from collections import Counter

import pytest
import torch
from transformers import BertConfig, BertModel

from s2l.config import PoolSettings
from s2l.errors import DataError, SettingsError
from s2l.progress import SILENT
from s2l.target.bertscore import bertscore, matched
from s2l.target.evaluate_settings import EvaluateSettings
from s2l.target.evaluated import opened
from s2l.target.summaries import bleu, rouge_l, summaries
from toy_runs import tiny_llama, write_jsonl

pytest.importorskip("rouge_score", reason="the extra eval is not installed")
pytest.importorskip("sacrebleu", reason="the extra eval is not installed")

TEXTS = ["the lungs are clear", "no acute process in the chest", "", "the heart is the heart of the chest"]
REFERENCES = ["the lungs appear clear", "no acute cardiopulmonary process", "normal", "the heart is enlarged the chest"]


def longest_common(a, b):
    if not a or not b:
        return 0
    if a[-1] == b[-1]:
        return 1 + longest_common(a[:-1], b[:-1])
    return max(longest_common(a[:-1], b), longest_common(a, b[:-1]))


def test_rouge_l_is_the_f1_of_the_longest_common_subsequence():
    for found, text, reference in zip(rouge_l(TEXTS, REFERENCES), TEXTS, REFERENCES, strict=True):
        a, b = text.split(), reference.split()
        common = longest_common(a, b)
        assert found == pytest.approx(2 * common / (len(a) + len(b)))


def test_bleu_is_the_product_of_clipped_precisions_and_brevity():
    texts, references = (
        [text + " as seen before today" for text in TEXTS],
        [r + " as seen before today" for r in REFERENCES],
    )
    hits, all_ = [0] * 4, [0] * 4
    for text, reference in zip(texts, references, strict=True):
        for n in range(4):
            grams, known = (
                Counter(zip(*(words[i:] for i in range(n + 1)), strict=False))
                for words in (text.split(), reference.split())
            )
            hits[n] += sum((grams & known).values())
            all_[n] += sum(grams.values())
    length, wanted = (sum(len(text.split()) for text in some) for some in (texts, references))
    brevity = min(1.0, math.exp(1 - wanted / length))
    naive = 100 * brevity * math.exp(sum(math.log(hit / of) for hit, of in zip(hits, all_, strict=True)) / 4)
    assert bleu(texts, references) == pytest.approx(naive)
    assert bleu(REFERENCES, REFERENCES) == pytest.approx(100)


def test_bertscore_matches_each_token_with_its_nearest():
    torch.manual_seed(0)
    a, b = (torch.nn.functional.normalize(torch.randn(n, 5), dim=-1) for n in (4, 6))
    precision = sum(max(float(x @ y) for y in b) for x in a) / len(a)
    recall = sum(max(float(x @ y) for x in a) for y in b) / len(b)
    assert matched(a, b) == pytest.approx(2 * precision * recall / (precision + recall), rel=1e-5)
    assert matched(a[:0], b) == 0


def test_bertscore_of_the_same_text_is_one(tmp_path):
    folder = tiny_llama(tmp_path / "encoder")
    for file in folder.glob("*.safetensors"):
        file.unlink()
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=500, max_position_embeddings=40, **shape)).save_pretrained(folder)
    found = bertscore([*TEXTS, "the " * 200], [TEXTS[0], *REFERENCES[1:], "the " * 200], folder)
    assert found[0] == found[4] == pytest.approx(1)
    assert found[2] == 0
    assert 0 < found[1] < 1
    with pytest.raises(SettingsError, match="no such folder"):
        bertscore(TEXTS, REFERENCES, tmp_path / "nowhere")


def test_a_summary_is_written_for_every_row(tmp_path):
    model = tiny_llama(tmp_path / "model")
    rows = [
        {"instruction": f"Summarise: {reference} {i}", "output": reference} for i, reference in enumerate(REFERENCES)
    ]
    file = write_jsonl(tmp_path / "notes.jsonl", rows)
    settings = EvaluateSettings(summaries=str(file), template="short", max_new_tokens=5)
    figures, written = summaries(opened(str(model), settings), settings, workers=1)
    assert (figures["n"], figures["of"]) == (4, 4)
    assert {row["reference"] for row in written} == set(REFERENCES)
    assert all(re.fullmatch(r"Q: Summarise: .*\nA: ", row["prompt"]) for row in written)
    assert figures["rouge_l"] == pytest.approx(sum(row["rouge_l"] for row in written) / 4)
    assert figures["bleu"] == bleu([row["output"] for row in written], [row["reference"] for row in written])
    few, _ = summaries(opened(str(model), settings), settings.model_copy(update={"limit": 2}), workers=2)
    assert (few["n"], few["of"]) == (2, 4)


def test_the_prompt_is_all_before_the_last_answer_in_the_tokens_of_the_training(tmp_path):
    model = tiny_llama(tmp_path / "model")
    turns = ("user", "one?"), ("assistant", "two"), ("user", "three?"), ("assistant", "four")
    row = {"messages": [{"role": role, "content": text} for role, text in turns], "tools": '[{"name": "add"}]'}
    file = write_jsonl(tmp_path / "talks.jsonl", [row])
    settings = EvaluateSettings(summaries=str(file), template="short", max_new_tokens=5)
    evaluated = opened(str(model), settings)
    _, (written,) = summaries(evaluated, settings, workers=1)
    assert written["prompt"].endswith("Q: one?\nA: two\nQ: three?\nA: ")
    assert written["prompt"].startswith("Tools: ") and "add" in written["prompt"]
    pool, tokens = evaluated.read([str(file)], SILENT)
    example = pool.example(0)
    (prompt,) = evaluated.encode([evaluated.prompt(example.turns[:-1], example.tools)])
    last = evaluated.tokenizer("four").input_ids
    assert tokens.input_ids.tolist() == [*prompt.tolist(), *last, evaluated.tokenizer.eos_token_id]


def test_rows_that_cannot_be_read_are_left_out_and_a_cut_character_is_named(tmp_path):
    file = tmp_path / "notes.jsonl"
    file.write_text('{"instruction": "a", "output": "b"}\n{"instruction": "a", "out\n')
    settings = EvaluateSettings(summaries=str(file), max_new_tokens=2)
    evaluated = opened(str(tiny_llama(tmp_path / "model")), settings, PoolSettings(paths=("x",), bad_rows="exclude"))
    assert summaries(evaluated, settings, workers=1)[0]["n"] == 1
    file.write_text('{"instruction": "a", "output": "b"}\n{"instruction": "\\ud83d", "output": "c"}\n')
    with pytest.raises(DataError, match=r"notes\.jsonl:2: text is not valid Unicode"):
        summaries(evaluated, settings, workers=1)


def test_a_row_without_a_response_is_named(tmp_path):
    file = write_jsonl(
        tmp_path / "notes.jsonl", [{"instruction": "a", "output": "b"}, {"instruction": "c", "output": " "}]
    )
    settings = EvaluateSettings(summaries=str(file))
    with pytest.raises(DataError, match=r"notes\.jsonl:2: no response"):
        summaries(opened(str(tiny_llama(tmp_path / "model")), settings), settings, workers=1)
