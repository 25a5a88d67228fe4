"""The built-in proxy: its tokenizer and its weights, from scratch."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from s2l.config import ProxySettings
from s2l.proxy.builtin import END, build_model, fit_tokenizer

TEXTS = [f"{a} times {b} is {a * b}, or: ünïcode {chr(0x4E00 + a)}\n" for a in range(12) for b in range(12)]
TOKENIZER = fit_tokenizer(TEXTS, 400)
FIT = """
import sys
from s2l.proxy.builtin import fit_tokenizer
texts = [line.encode().decode("unicode_escape") for line in sys.stdin.read().splitlines()]
sys.stdout.write(fit_tokenizer(texts, 400).backend_tokenizer.to_str())
"""


def fitted_elsewhere(texts: list[str]) -> str:
    lines = "\n".join(text.encode("unicode_escape").decode() for text in texts)
    return subprocess.run([sys.executable, "-c", FIT], input=lines, capture_output=True, text=True, check=True).stdout


def test_the_order_of_texts_and_the_process_do_not_matter():
    here = TOKENIZER.backend_tokenizer.to_str()
    assert fit_tokenizer(TEXTS[::-1], 400).backend_tokenizer.to_str() == here
    assert fit_tokenizer(sorted(TEXTS, key=len), 400).backend_tokenizer.to_str() == here
    assert fitted_elsewhere(TEXTS[7:] + TEXTS[:7]) == here


@given(text=st.text())
def test_any_text_survives(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def test_numbers_are_digits_and_the_end_token_is_the_first():
    assert TOKENIZER.tokenize("or: 123") == ["or", ":", "Ġ", "1", "2", "3"]
    assert (TOKENIZER.eos_token, TOKENIZER.eos_token_id) == (END, 0)
    assert len(TOKENIZER) <= 400


def test_few_texts_give_a_smaller_vocabulary_that_still_spells_everything():
    tokenizer = fit_tokenizer(["a"], 4096)
    assert len(tokenizer) == 257
    assert tokenizer.decode(tokenizer.encode("z ß\n")) == "z ß\n"


def weights(seed: int) -> torch.Tensor:
    model = build_model(ProxySettings(model="builtin", width=64), 300, 0, 32, seed)
    return torch.cat([parameter.flatten() for parameter in model.parameters()])


def test_weights_are_the_seeds_and_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    first, again, other = weights(0), weights(0), weights(1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("width", [64, 128, 192])
def test_heads_are_64_wide(width: int) -> None:
    config = build_model(ProxySettings(model="builtin", width=width, layers=1), 300, 0, 32, 0).config
    assert config.hidden_size // config.num_attention_heads == 64
