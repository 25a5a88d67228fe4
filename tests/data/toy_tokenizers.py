"""Small real tokenizers, trained in a moment, and pools made by hand."""

from hashlib import blake2b

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from s2l.types import Example, Pool, Rows, Turn

LINES = [
    "What is two and two? It is four.",
    "Name a colour: red, green or blue.",
    "User Assistant Instruction Response",
] * 3

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>\n{% endgeneration %}"
    "{% else %}{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKS_NOTHING = MARKED.replace("m.role == 'assistant'", "m.role == 'nobody'")
STRIPS_THOUGHTS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content if loop.last else m.content.split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CLOSES = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% else %}{{ eos_token }}{% endif %}"
)
REFUSES_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system\nrole') }}{% endif %}" + CHATML
WITH_TOOLS = "{% if tools %}{{ tools | tojson }}\n{% endif %}" + CHATML
DATED = "{{ strftime_now('%d %B %Y') }}\n" + CHATML


def byte_level(chat_template: str | None = None, *, bos: bool = False, eos: str | None = "<eos>"):
    """A byte-level BPE; with `bos` it puts <bos> before a text and <eos> after it."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    specials = ["<eos>", "<bos>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(LINES, trainer)
    if bos:
        backend.post_processor = processors.TemplateProcessing(
            single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 0)]
        )
    else:
        backend.post_processor = processors.ByteLevel(trim_offsets=True)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=eos, clean_up_tokenization_spaces=False)
    tokenizer.chat_template = chat_template
    return tokenizer


def metaspace():
    """Like Llama's: `▁` for spaces and before every text, bytes for the rest, <s> before a text."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), "▁", *"abcdefghijklmnopqrstuvwxyz"]
    backend = Tokenizer(
        models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], byte_fallback=True, unk_token="<unk>")
    )
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", clean_up_tokenization_spaces=False)


def user(text: str) -> Turn:
    return Turn("user", text)


def answer(text: str, trained: bool = True) -> Turn:
    return Turn("assistant", text, trained)


def pool_of(*examples: Example, format: str = "pair", excluded: dict[int, str] | None = None) -> Pool:
    """A pool of these rows, as if read from `toy.jsonl`."""
    contents = [example.to_content() for example in examples]
    ids = [
        blake2b(content + b"\0%d" % contents[:i].count(content), digest_size=12).hexdigest().encode()
        for i, content in enumerate(contents)
    ]
    zeros = np.zeros(len(ids), dtype=np.int64)
    rows = Rows(
        ids=np.array(ids, dtype="S24"),
        occurrence_N=zeros,
        source_N=zeros,
        sources=("all",),
        file_N=zeros,
        files=("toy.jsonl",),
        row_N=np.arange(len(ids)),
        line_N=np.arange(1, len(ids) + 1),
        excluded={ids[i]: reason for i, reason in (excluded or {}).items()},
    )
    chunks = pa.chunked_array([pa.array(contents, pa.large_binary())])
    return Pool(rows, chunks, digest="toy", container="jsonl", format=format)
