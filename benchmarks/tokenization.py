"""Seconds from rows in memory to tokens in memory: the S2L authors' functions, one plain batched call, and ours.

    python benchmarks/tokenization.py --authors CLONE --pool train.jsonl --tokenizer FOLDER --out results.json

CLONE is a clone of BigML-CS-UCLA/S2L, bare or not: its `utils.py` and `consts.py` are loaded as they are. All three
use the authors' special tokens and the Alpaca prompt. The authors encode prompt and response joined, so that a token
may reach over the border between them; ours encodes them apart, as the mask needs it. Rows that differ by more than
that are counted as `ids_differ_otherwise`.
"""

from __future__ import annotations

import argparse
import json
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from authors import authors_module
from measure import in_turns, median, ratio, save

from s2l.config import PoolSettings, TokenSettings
from s2l.data.pool import read_pool
from s2l.data.tokens import load_tokens, save_tokens, tokenize
from s2l.provenance import peak_memory
from s2l.types import Pool, Tokens

MAX_LENGTH = 512
IGNORED = -100
AGREEMENT = (
    "ids_and_labels_equal",
    "ids_equal_labels_not",
    "ids_differ_at_the_border",
    "ids_differ_otherwise",
    "excluded_by_ours",
    "authors_have_no_label",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--authors", type=Path, required=True)
    parser.add_argument("--pool", type=Path, required=True, help="JSON Lines of instruction, output (and input)")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        utils = authors_module("utils", args.authors, folder)
        tokenizer, special_tokens = utils.get_tokenizer(args.tokenizer, None, MAX_LENGTH)
        tokenizer, _ = utils.smart_tokenizer_and_embedding_resize(special_tokens, tokenizer, None)
        with args.pool.open("rb") as stream:
            lines = list(islice(stream, args.rows))
        rows = [json.loads(line) for line in lines]
        (folder / "rows.jsonl").write_bytes(b"".join(lines))
        pool = read_pool(PoolSettings(paths=(str(folder / "rows.jsonl"),)))
        settings = TokenSettings(template="alpaca", max_length=MAX_LENGTH)
        prompts, whole = authors_texts(rows, utils, tokenizer.eos_token)

        def plain_batched_call() -> None:
            for texts in (prompts, whole):
                tokenizer(texts, truncation=True, max_length=MAX_LENGTH)

        made: dict[str, Any] = {}
        seconds = in_turns(
            {
                "ours": lambda: made.update(ours=tokenize(pool, tokenizer, settings, builtin=False)),
                "ours_with_saving": lambda: ours_to_file(pool, tokenizer, settings, folder / "tokens.arrow"),
                "plain_batched_call": plain_batched_call,
                "authors": lambda: made.update(authors=utils.SupervisedDataset(rows, tokenizer)),
            },
            args.repeats,
        )
        save(
            args.out,
            {
                "rows": len(rows),
                "tokens": int(made["ours"].start_N[-1]),
                "ratio": ratio(seconds["authors"], seconds["ours"]),
                "ratio_with_saving": ratio(seconds["authors"], seconds["ours_with_saving"]),
                "ratio_of_plain_batched_call": ratio(seconds["authors"], seconds["plain_batched_call"]),
                "rows_per_second": {name: round(len(rows) / median(times)) for name, times in seconds.items()},
                "seconds": seconds,
                **agreement(pool, made["ours"], made["authors"], apart(prompts, whole, tokenizer)),
                "peak_memory_mib": peak_memory() >> 20,
            },
        )


def authors_texts(rows: list[dict[str, str]], utils: Any, end: str) -> tuple[list[str], list[str]]:
    """The two texts a row that the authors tokenize: the prompt, and the prompt with response and end token."""
    prompts = [
        utils.PROMPT_DICT["prompt_input" if row.get("input") else "prompt_no_input"].format_map(row) for row in rows
    ]
    return prompts, [f"{prompt}{row['output']}{end}" for prompt, row in zip(prompts, rows, strict=True)]


def ours_to_file(pool: Pool, tokenizer: Any, settings: TokenSettings, path: Path) -> None:
    save_tokens(tokenize(pool, tokenizer, settings, builtin=False), path)
    load_tokens(path)


def apart(prompts: list[str], whole: list[str], tokenizer: Any) -> list[list[int]]:
    """The authors' texts with prompt and response encoded apart, by the plain call."""
    responses = [text[len(prompt) :] for prompt, text in zip(prompts, whole, strict=True)]
    first, second = (tokenizer(texts).input_ids for texts in (prompts, responses))
    return [(a + b)[:MAX_LENGTH] for a, b in zip(first, second, strict=True)]


def agreement(pool: Pool, ours: Tokens, authors: Any, apart_ids: list[list[int]]) -> dict[str, int]:
    """Rows by how their ids, and the labels made of them, compare."""
    place = {id_: row for row, id_ in enumerate(ours.ids.tolist())}
    counts = dict.fromkeys(AGREEMENT, 0)
    rows = zip(pool.rows.ids.tolist(), authors.input_ids, authors.labels, apart_ids, strict=True)
    for id_, ids, labels, ids_apart in rows:
        counts["authors_have_no_label"] += not (labels[1:] != IGNORED).any()
        if id_ not in place:
            counts["excluded_by_ours"] += 1
            continue
        span = slice(*ours.start_N[place[id_] : place[id_] + 2])
        our_ids = ours.input_ids[span]
        if not np.array_equal(our_ids, ids.numpy()):
            counts["ids_differ_at_the_border" if our_ids.tolist() == ids_apart else "ids_differ_otherwise"] += 1
        elif np.array_equal(np.where(ours.counted[span], our_ids, IGNORED), labels.numpy()):
            counts["ids_and_labels_equal"] += 1
        else:
            counts["ids_equal_labels_not"] += 1
    return counts


if __name__ == "__main__":
    main()
