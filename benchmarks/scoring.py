"""Scoring one checkpoint: the S2L authors' own loop, padded `Trainer.predict` batches, and ours, on the same tokens.

    python benchmarks/scoring.py --authors CLONE --pool train.jsonl --tokenizer FOLDER --rows 512 --out results.json

CLONE is a clone of BigML-CS-UCLA/S2L, bare or not; its `get_trajectories.loss` runs as it is, but for `.cuda()`, which
does nothing where there is no GPU. The model has the shape of Pythia-70M (vocabulary 50,304), trained for a hundred
steps on other rows of the pool, so that its losses are real; it is kept in --cache. Peak share counts needed work only:
no logits at prompt tokens, no padding.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from authors import authors_module
from measure import gemm_peak, in_turns, median, ratio, save
from scipy.stats import spearmanr
from transformers import (
    AutoModelForCausalLM,
    DataCollatorForTokenClassification,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
)

from s2l.config import PoolSettings, ProxySettings, TokenSettings
from s2l.data.pool import read_pool
from s2l.data.tokens import tokenize
from s2l.forecast.flops import amount_of, forward, shape_of
from s2l.progress import SILENT
from s2l.proxy import checkpoints, load
from s2l.proxy.plan import make_plan
from s2l.proxy.quiet import quiet
from s2l.proxy.train import train
from s2l.scoring import head
from s2l.scoring import score as scoring
from s2l.scoring.precision import lower_
from s2l.scoring.score import Scorer, score
from s2l.scoring.setup import checked_path
from s2l.types import STATISTICS, Tokens

NLL = STATISTICS.index("nll")
IGNORED = -100
CACHE = Path.home() / ".cache" / "s2l-benchmarks"
SHAPE = {
    "vocab_size": 50_304,
    "hidden_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "intermediate_size": 2048,
    "max_position_embeddings": 2048,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--authors", type=Path, required=True)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--tokenizer", default="EleutherAI/pythia-70m-deduped")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--steps", type=int, default=100, help="of training before the losses are measured")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-tokens", type=int, help="tokens of one pass; 4,096 on a CPU, 65,536 on a GPU")
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokens, others = rows_of(args.pool, args.tokenizer, args.rows)
    model = AutoModelForCausalLM.from_pretrained(trained(others, args.steps, args.cache), dtype=torch.float32)
    model = model.to(device).eval()

    usual = 4096 if device.type == "cpu" else 2**16
    float32 = Scorer(args.batch_tokens or usual, device, "float32", os.cpu_count() or 1, compiled=True)
    float32 = replace(float32, path=checked_path(model, tokens, device))
    bfloat16 = replace(float32, precision="bfloat16")
    lowered = lower_(AutoModelForCausalLM.from_pretrained(args.cache / name_of(args.steps)).to(device).eval())
    found: dict[str, np.ndarray] = {}

    def ours(name: str, of: PreTrainedModel, how: Scorer) -> None:
        found[name] = score(of, tokens, np.arange(len(tokens)), how)[NLL] / tokens.response_lengths

    with TemporaryDirectory() as scratch, as_on_cuda(device), quiet():
        authors = authors_module("get_trajectories", args.authors, Path(scratch))
        dataset = [row_of(tokens, row) for row in range(len(tokens))]
        for of, how in ((model, float32), (lowered, bfloat16)):
            score(of, tokens, np.arange(2), how)
        seconds = in_turns(
            {
                "authors": lambda: found.update(
                    authors=torch.stack(authors.loss({"train_dataset": dataset}, model)).numpy()
                ),
                "padded_predict": lambda: padded_predict(model, dataset, Path(scratch)),
                "float32": lambda: ours("float32", model, float32),
                "float32_eager": lambda: ours("float32_eager", model, replace(float32, compiled=False)),
                "bfloat16": lambda: ours("bfloat16", lowered, bfloat16),
                "bfloat16_eager": lambda: ours("bfloat16_eager", lowered, replace(bfloat16, compiled=False)),
            },
            args.repeats,
        )
        with loss_alone():
            score(lowered, tokens, np.arange(2), bfloat16)
            alone = in_turns({"loss": lambda: ours("loss", lowered, bfloat16)}, args.repeats)["loss"]
    flops = forward(shape_of(model), amount_of(tokens))
    peaks = {name: gemm_peak(dtype, device.type) for name, dtype in DTYPES.items()}
    real = int(tokens.start_N[-1])
    save(
        args.out,
        {
            "rows": len(tokens),
            "tokens": real,
            "response_share": round(float(tokens.response_lengths.sum()) / real, 3),
            "ratio_bf16": ratio(seconds["authors"], seconds["bfloat16"]),
            "ratio_bf16_eager": ratio(seconds["authors"], seconds["bfloat16_eager"]),
            "ratio_fp32": ratio(seconds["authors"], seconds["float32"]),
            "ratio_fp32_eager": ratio(seconds["authors"], seconds["float32_eager"]),
            "ratio_padded_predict": ratio(seconds["authors"], seconds["padded_predict"]),
            "all_statistics_over_loss_alone_bf16": ratio(seconds["bfloat16"], alone),
            "peak_share_bf16": round(flops / median(seconds["bfloat16"]) / peaks["bfloat16"], 3),
            "peak_share_bf16_eager": round(flops / median(seconds["bfloat16_eager"]) / peaks["bfloat16"], 3),
            "peak_share_fp32": round(flops / median(seconds["float32"]) / peaks["float32"], 3),
            "peak_share_authors": round(flops / median(seconds["authors"]) / peaks["float32"], 3),
            "gemm_peak_gflops": {name: round(peak / 1e9) for name, peak in peaks.items()},
            "max_abs_diff_fp32": float(np.abs(found["float32"] - found["authors"]).max()),
            "mean_abs_diff_bf16": float(np.abs(found["bfloat16"] - found["authors"]).mean()),
            "max_abs_diff_bf16": float(np.abs(found["bfloat16"] - found["authors"]).max()),
            "spearman_bf16": float(spearmanr(found["bfloat16"], found["authors"]).statistic),
            "mean_loss": float(found["authors"].mean()),
            "rows_per_second": {name: round(len(tokens) / median(times), 1) for name, times in seconds.items()},
            "tokens_per_second": {name: round(real / median(times)) for name, times in seconds.items()},
            "seconds": seconds | {"bfloat16_loss_alone": alone},
        },
    )


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def rows_of(pool: Path, tokenizer: str, rows: int) -> tuple[Tokens, Tokens]:
    """The first rows of the pool in the Alpaca prompt, to score; and as many after them, to train on."""
    with pool.open("rb") as stream, TemporaryDirectory() as scratch:
        parts = [b"".join(islice(stream, rows)) for _ in range(2)]
        made = []
        for part in parts:
            path = Path(scratch) / "rows.jsonl"
            path.write_bytes(part)
            read = read_pool(PoolSettings(paths=(str(path),)))
            named = load.load_tokenizer(load.resolve(tokenizer, None))
            made.append(tokenize(read, named, TokenSettings(template="alpaca"), builtin=False))
    return made[0], made[1]


def name_of(steps: int) -> str:
    return f"pythia-70m-shape-{steps}-steps"


def trained(tokens: Tokens, steps: int, cache: Path) -> Path:
    """A model of Pythia-70M's shape, trained so many steps on these rows, kept in `cache`."""
    folder = cache / name_of(steps)
    if not folder.is_dir():
        torch.manual_seed(0)
        model = GPTNeoXForCausalLM(GPTNeoXConfig(**SHAPE))
        settings = ProxySettings(epochs=1000, batch_size=8, learning_rate=1e-3, checkpoints=1)
        on = "cuda" if torch.cuda.is_available() else "cpu"
        plan = make_plan(len(tokens), settings, batch_tokens=2048, threads=os.cpu_count() or 1, device=on, seed=0)
        with TemporaryDirectory() as scratch, plan.cpu_threads():
            train(model, tokens, replace(plan, steps=steps, saves=(steps,)), Path(scratch), SILENT)
            found = checkpoints.find(Path(scratch), steps)
            assert found is not None
            checkpoints.load_model(found, torch.device("cpu")).save_pretrained(folder)
    return folder


def row_of(tokens: Tokens, row: int) -> dict[str, torch.Tensor]:
    """What the authors' dataset gives for a row."""
    span = slice(*tokens.start_N[row : row + 2])
    input_ids = torch.from_numpy(tokens.input_ids[span].astype(np.int64))
    return {"input_ids": input_ids, "labels": input_ids.masked_fill(~torch.from_numpy(tokens.counted[span]), IGNORED)}


@contextlib.contextmanager
def as_on_cuda(device: torch.device) -> Iterator[None]:
    """`.cuda()` does nothing where there is no GPU."""
    if device.type == "cuda":
        yield
        return
    before = torch.Tensor.cuda, torch.nn.Module.cuda
    torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *_args, **_kwargs: self  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        torch.Tensor.cuda, torch.nn.Module.cuda = before  # type: ignore[method-assign]


class PadToken:
    """All that the collator asks of a tokenizer: to pad."""

    padding_side = "right"

    def pad(self, features: list[dict[str, Any]], **_kwargs: Any) -> dict[str, torch.Tensor]:
        ids = [feature["input_ids"] for feature in features]
        padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in ids], batch_first=True)
        return {"input_ids": padded, "attention_mask": mask}


def padded_predict(model: PreTrainedModel, dataset: list[dict[str, torch.Tensor]], scratch: Path) -> None:
    """The mean loss of each row from `Trainer.predict`: batches of 8 rows as they come, all logits."""

    def row_losses(logits_BLV: torch.Tensor, labels_BL: torch.Tensor) -> torch.Tensor:
        shifted_BVL = logits_BLV[:, :-1].float().transpose(1, 2)
        nll_BL = torch.nn.functional.cross_entropy(shifted_BVL, labels_BL[:, 1:], reduction="none")
        return nll_BL.sum(dim=1) / (labels_BL[:, 1:] != IGNORED).sum(dim=1)

    arguments = TrainingArguments(
        output_dir=str(scratch), per_device_eval_batch_size=8, report_to="none", disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(), dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = Trainer(
        model=model,
        args=arguments,
        data_collator=DataCollatorForTokenClassification(PadToken()),  # type: ignore[arg-type]
        preprocess_logits_for_metrics=row_losses,
    )
    trainer.predict(dataset)  # type: ignore[arg-type]


@contextlib.contextmanager
def loss_alone() -> Iterator[None]:
    """The pass over the logits finds their running maximum and sum, compiled, and nothing else."""

    def update(running_4R: torch.Tensor, others_Rv: torch.Tensor) -> torch.Tensor:
        others_Rv = others_Rv.float()
        max_R = torch.maximum(running_4R[0], others_Rv.amax(dim=1))
        s1_R = (running_4R[0] - max_R).exp() * running_4R[1] + (others_Rv - max_R[:, None]).exp().sum(dim=1)
        return torch.stack([max_R, s1_R, s1_R, s1_R])

    of_all, everything = head.update, scoring.compiled_update
    head.update, scoring.compiled_update = update, functools.cache(everything.__wrapped__)
    try:
        yield
    finally:
        head.update, scoring.compiled_update = of_all, everything


if __name__ == "__main__":
    main()
