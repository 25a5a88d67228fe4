"""From a file to a subset: seconds and peak memory of the S2L authors' way and of `s2l run`, on the same rows.

    python benchmarks/end_to_end.py --authors CLONE --pool train.jsonl --rows 1000 --out results.json

Both fine-tune the same small GPT-NeoX (2 layers, width 96, byte-level BPE of 4,096) for three epochs in the Alpaca
prompt, batches of 32, score every row at 12 checkpoints, cluster and draw 11 %. The authors' functions run as they are:
`make_supervised_data_module`, `get_trajectories.loss` and `schedules.S2L`, with transformers' Trainer on their dataset,
collator and settings; `.cuda()` does nothing where there is no GPU, and each checkpoint tokenizes the pool anew, as
their script does, but in one process. The sample is of the pool's four largest sources. Each way is a process of its
own, from its start to its end.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from authors import authors_module
from measure import median, ratio, save

from s2l.config import PoolSettings, ProxySettings, TokenSettings
from s2l.data.pool import read_pool
from s2l.data.tokens import fitting_texts
from s2l.proxy.builtin import build_model, fit_tokenizer

CHECKPOINTS, EPOCHS, BATCH, MAX_LENGTH, LEARNING_RATE, BUDGET = 12, 3, 32, 512, 1e-3, 0.11
SOURCES = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--authors", type=Path, required=True)
    parser.add_argument("--pool", type=Path, required=True, help="JSON Lines of instruction, output and source")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--way", choices=("authors",), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        the_authors_way(args.authors.resolve(), args.folder)
        return
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "train.jsonl").write_bytes(b"".join(sample(args.pool, args.rows)))
        make_proxy(folder)
        measured: dict[str, list[dict[str, float]]] = {"authors": [], "ours": []}
        for repeat in range(args.repeats):
            measured["authors"].append(measure(authors_command(args.authors, folder / f"authors-{repeat}")))
            measured["ours"].append(measure(our_command(folder, folder / f"ours-{repeat}")))
        chosen = chosen_rows(folder)
        stages = json.loads((folder / "ours-0" / "seconds.json").read_text())
    seconds = {way: [run["seconds"] for run in runs] for way, runs in measured.items()}
    memory = {way: [run["peak_memory_mib"] for run in runs] for way, runs in measured.items()}
    figures: dict[str, Any] = {
        "rows": args.rows,
        "ratio": ratio(seconds["authors"], seconds["ours"]),
        "seconds_median": {way: median(times) for way, times in seconds.items()},
        "peak_memory_mib_median": {way: median(sizes) for way, sizes in memory.items()},
        "rows_chosen": chosen,
        "our_stages": stages,
        "seconds": seconds,
    }
    save(args.out, figures)


def sample(pool: Path, rows: int) -> list[bytes]:
    """The first rows of the pool's largest sources: the authors cluster each source, and cannot where it is small."""
    with pool.open("rb") as stream:
        lines = [(json.loads(line)["source"], line) for line in stream]
    largest = {source for source, _ in Counter(source for source, _ in lines).most_common(SOURCES)}
    return [line for source, line in lines if source in largest][:rows]


def make_proxy(folder: Path) -> None:
    """The model that both start from, and its tokenizer."""
    pool = read_pool(PoolSettings(paths=(str(folder / "train.jsonl"),)))
    tokenizer = fit_tokenizer(fitting_texts(pool, TokenSettings()), 4096)
    assert tokenizer.eos_token_id is not None
    tokenizer.save_pretrained(folder / "proxy")
    build_model(ProxySettings(), len(tokenizer), tokenizer.eos_token_id, MAX_LENGTH, 0).save_pretrained(
        folder / "proxy"
    )


def authors_command(clone: Path, folder: Path) -> list[str]:
    words = [__file__, "--way", "authors", "--authors", clone, "--pool", folder, "--folder", folder]
    return [sys.executable, *map(str, words)]


def our_command(folder: Path, out: Path) -> list[str]:
    words = [
        "run", folder / "train.jsonl", "--proxy", folder / "proxy", "--epochs", EPOCHS, "--batch-size", BATCH,
        "--learning-rate", LEARNING_RATE, "--checkpoints", CHECKPOINTS, "--budget", f"{BUDGET:.0%}", "--out", out,
    ]  # fmt: skip
    return [sys.executable, "-m", "s2l", *map(str, words)]


def measure(command: list[str]) -> dict[str, float]:
    """Seconds and peak memory (MiB) of one process."""
    start = time.perf_counter()
    probe = "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:], stdout=2).returncode; "
    probe += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
    done = subprocess.run([sys.executable, "-c", probe, *command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return {"seconds": time.perf_counter() - start, "peak_memory_mib": int(done.stdout.split()[-1]) / 1024}


def chosen_rows(folder: Path) -> dict[str, int]:
    """How many rows each way chose."""
    ours = next((folder / "ours-0" / "subsets").glob("s2l-*")) / "train.jsonl"
    authors = json.loads((folder / "authors-0" / "data" / "labeled.json").read_text())
    return {"authors": len(authors), "ours": sum(1 for _ in ours.open("rb"))}


def the_authors_way(clone: Path, folder: Path) -> None:
    """Train, score every checkpoint, cluster and draw, into `folder`; the pool and the model stand beside it."""
    from transformers import Trainer, TrainingArguments

    if not torch.cuda.is_available():
        torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *_args, **_kwargs: self  # type: ignore[assignment,method-assign]
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}.init", rank=0, world_size=1)
    pool, proxy, output = folder.parent / "train.jsonl", folder.parent / "proxy", folder / "output"
    (folder / "data").mkdir(parents=True)
    (folder.parent / "validate.jsonl").write_bytes(pool.read_bytes())
    code = folder / "code"
    code.mkdir()
    utils = authors_module("utils", clone, code)

    def ready(path: Path) -> tuple[Any, Any, Any]:
        model = utils.get_model(str(path))
        tokenizer, special = utils.get_tokenizer(str(proxy), None, MAX_LENGTH)
        tokenizer, model = utils.smart_tokenizer_and_embedding_resize(special, tokenizer, model)
        return model, tokenizer, utils.make_supervised_data_module(tokenizer, str(pool))

    model, tokenizer, data = ready(proxy)
    steps = EPOCHS * -(-len(data["train_dataset"]) // BATCH)
    arguments: dict[str, Any] = {
        "optim": "adamw_torch", "num_train_epochs": EPOCHS, "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": BATCH // 4, "save_strategy": "steps", "save_steps": max(1, steps // CHECKPOINTS),
        "save_total_limit": CHECKPOINTS, "learning_rate": LEARNING_RATE, "weight_decay": 0.0, "warmup_steps": 0.03,
        "lr_scheduler_type": "cosine", "logging_steps": 1, "train_sampling_strategy": "group_by_length", "seed": 42,
        "use_cpu": not torch.cuda.is_available(), "report_to": "none", "output_dir": str(output),
    }  # fmt: skip
    Trainer(model=model, args=TrainingArguments(**arguments), **data).train()
    trajectories = authors_module("get_trajectories", clone, code)
    for checkpoint in sorted(output.glob("checkpoint-*")):
        model, _, data = ready(checkpoint)
        torch.save(trajectories.loss(data, model), checkpoint / "losses.pt")

    schedule = authors_module("schedules.s2l", clone, code)
    rows = sum(1 for _ in pool.open("rb"))
    settings = {
        "full_data_path": str(pool), "init_label_num": round(rows * BUDGET), "data_path_root": str(folder / "data"),
        "output_dir_root": str(output), "train_args": arguments, "distance": "euclidean", "n_components": 100,
        "ref_model_path": str(output), "num_loss_ckpts": -1,
    }  # fmt: skip
    drawn = schedule.S2L(model, tokenizer, settings)
    drawn.initialize_labeled_data()
    drawn.save_labeled_unlabeled_data()


if __name__ == "__main__":
    main()
