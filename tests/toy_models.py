"""Tiny models of several architectures with fixed random weights, and random rows for them to read."""

from copy import deepcopy

import numpy as np
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3Config,
)

from s2l.config import ProxySettings
from s2l.proxy.builtin import build_model
from s2l.types import Tokens

VOCABULARY = 320
WINDOW = 48
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": WINDOW,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
CONFIGS: dict[str, PreTrainedConfig] = {
    "llama-tied": LlamaConfig(**SHAPE, tie_word_embeddings=True, initializer_range=0.3),
    "qwen3": Qwen3Config(**SHAPE, tie_word_embeddings=False, initializer_range=0.3),
    "gemma2-soft-capped": Gemma2Config(**SHAPE, final_logit_softcapping=2.0, sliding_window=8),
    "granite-scaled": GraniteConfig(**SHAPE, logits_scaling=1.0001),
    "gpt2": GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=2, n_positions=WINDOW, bos_token_id=0, eos_token_id=0
    ),
}
ARCHITECTURES = ("builtin", *CONFIGS)


def toy_model(architecture: str = "builtin", seed: int = 0) -> PreTrainedModel:
    """A model of the architecture, in evaluation mode."""
    if architecture == "builtin":
        return build_model(ProxySettings(model="builtin", width=64), VOCABULARY, 0, WINDOW, seed).eval()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(deepcopy(CONFIGS[architecture])).eval()


def toy_tokens(rows: int = 23, seed: int = 0, longest: int = WINDOW) -> Tokens:
    """Random rows of 2 to `longest` tokens; in each some tokens count, often with gaps, sometimes the last alone."""
    rng = np.random.default_rng(seed)
    lengths_N = rng.integers(2, longest + 1, rows)
    start_N = np.concatenate([[0], np.cumsum(lengths_N)])
    counted = rng.random(start_N[-1]) < rng.choice([0.0, 0.5, 1.0], rows).repeat(lengths_N)
    counted[start_N[:-1]] = False
    counted[start_N[1:] - 1] = True
    return Tokens(
        ids=np.array([b"%024x" % (7919 * i) for i in range(rows)]),
        input_ids=rng.integers(1, VOCABULARY, start_N[-1]).astype(np.int32),
        counted=counted,
        start_N=start_N,
        truncated_N=np.zeros(rows, dtype=bool),
    )


def loss_of_one_row(model: PreTrainedModel, tokens: Tokens, row: int) -> float:
    """The model's own loss of the row alone."""
    span = slice(*tokens.start_N[row : row + 2])
    input_ids = torch.from_numpy(tokens.input_ids[span].astype(np.int64))[None]
    labels = input_ids.masked_fill(~torch.from_numpy(tokens.counted[span])[None], -100)
    with torch.no_grad():
        return model(input_ids=input_ids, labels=labels).loss.item()
