"""The built-in proxy: a byte-level BPE fitted on the pool and a small GPT-NeoX, both from scratch, with no network."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

from s2l.config import ProxySettings

END = "<|end|>"
HEAD_DIMENSION = 64


def fit_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of at most `vocabulary` entries that splits numbers into digits; its end token is `<|end|>`.

    Depends on the texts, not on their order.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer=trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=END, clean_up_tokenization_spaces=False)


def heads_for(width: int) -> int:
    """Attention heads of about 64 dimensions that divide `width` (a multiple of 32), in multiples of 8 dimensions."""
    return next(n for n in range(max(1, width // HEAD_DIMENSION), 0, -1) if width % (8 * n) == 0)


def build_model(
    settings: ProxySettings, vocabulary: int, end_id: int, max_length: int, seed: int
) -> GPTNeoXForCausalLM:
    """A GPT-NeoX of `settings.layers` × `settings.width` with fresh weights drawn from `seed`."""
    config = GPTNeoXConfig(
        vocab_size=vocabulary,
        hidden_size=settings.width,
        num_hidden_layers=settings.layers,
        num_attention_heads=heads_for(settings.width),
        intermediate_size=4 * settings.width,
        max_position_embeddings=max_length,
        bos_token_id=end_id,
        eos_token_id=end_id,
        use_cache=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPTNeoXForCausalLM(config)
