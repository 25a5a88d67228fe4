"""Whole runs of a small pool through the command line, in this process or in one that can be killed."""

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow.parquet as pq
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from s2l import cli
from s2l.proxy.builtin import fit_tokenizer

SMALL = {"width": 64, "layers": 1, "vocabulary": 300, "checkpoints": 4, "threads": 1}
FLAGS = ("--proxy", "builtin", "--max-length", "64", *(w for name, n in SMALL.items() for w in (f"--{name}", str(n))))
EMPTY, REPEAT, LONG = 20, 40, 60
"""Rows of the toy pool with an empty response, a repeat of the row before, a prompt that fills the window."""

GOOD = [{"instruction": f"Add {i} and 1.", "output": f"{i + 1}"} for i in range(8)]
BROKEN = b'{"instruction": "a", "output": "' + b"x" * 100 + b"\n"
SETTINGS, DATA, FOLDER, BUSY, MACHINE, NUMERICS = 2, 3, 4, 5, 6, 7


@dataclass(frozen=True)
class Outcome:
    """What a command left on the terminal."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that says what is wrong; fails where there are more, or a traceback."""
        *before, last = self.err.splitlines()
        assert last.startswith("error: "), self.err
        assert not [line for line in before if line.startswith(("error: ", "Traceback", "  File"))], self.err
        return last


def s2l(*words: str | Path) -> Outcome:
    """`s2l WORDS` in this process, through the same door as on the command line."""
    out, err, threads = io.StringIO(), io.StringIO(), torch.get_num_threads()
    code: Any = 0
    with patch.object(sys, "argv", ["s2l", *map(str, words)]), redirect_stdout(out), redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        finally:
            torch.set_num_threads(threads)
    return Outcome(code, out.getvalue(), err.getvalue())


def toy_rows() -> list[dict[str, Any]]:
    """150 rows: sums, words said twice and comparisons, with three rows that real pools have too."""
    kinds = (
        lambda i: (f"Add {i} and {7 * i % 50}.", f"{i} + {7 * i % 50} = {i + 7 * i % 50}", "add"),
        lambda i: (f"Say the word number {i} twice.", f"word {i}, word {i}", "say"),
        lambda i: (f"Is {i} more than 70?", "yes" if i > 70 else "no", "more"),
    )
    rows = [dict(zip(("instruction", "output", "source"), kinds[i % 3](i), strict=True)) for i in range(150)]
    rows[EMPTY]["output"] = ""
    rows[REPEAT] = dict(rows[REPEAT - 1])
    rows[LONG]["instruction"] = "What comes next: " + "1 2 " * 60
    return rows


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """The rows as JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def manifest(run: Path) -> dict[str, Any]:
    """RUN/manifest.json."""
    found: dict[str, Any] = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    return found


def verdicts(subset: Path) -> list[dict[str, Any]]:
    """selection.parquet, a dict a row of the pool."""
    rows: list[dict[str, Any]] = pq.read_table(subset / "selection.parquet").to_pylist()
    return rows


def kept_ids(subset: Path) -> set[str]:
    """Ids of the rows in the subset."""
    return {row["id"] for row in verdicts(subset) if row["kept"]}


def files_of(folder: Path) -> dict[str, str]:
    """Every file under the folder, with the digest of its bytes."""
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class Driver:
    """Runs commands in processes of their own, forked from one that has imported everything; see kill_driver.py."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("kill_driver.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, *words: str | Path, **how: Any) -> Outcome:
        """`s2l WORDS`; `how` is the rest of the job: strike, at, manner, file_size."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({"words": [str(word) for word in words], **how}) + "\n")
        self.process.stdin.flush()
        return Outcome(**json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        """End it."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


def tiny_llama(folder: Path, chat_template: str | None = None, window: int = 256) -> Path:
    """A folder as the hub has them: a Llama of random weights, and a tokenizer fitted on the toy pool."""
    tokenizer = fit_tokenizer((row["instruction"] + row["output"] for row in toy_rows()), 400)
    tokenizer.chat_template = chat_template
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=window,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def run_of(pool: Path | str, out: Path, *more: str | Path, budget: str = "3") -> Outcome:
    """`s2l run` of the pool into the folder `out`, with the toy's flags."""
    return s2l("run", pool, "--budget", budget, *FLAGS, "--out", out, *more)


def lines(rows: list[dict[str, Any]]) -> bytes:
    """The rows as JSON Lines."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


class StopAfter:
    """A progress that stops the training, as Ctrl-C would, once it has told of so many steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    @contextmanager
    def stage(self, name: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
        def advance(units: int) -> None:
            if self.steps == 0:
                raise KeyboardInterrupt
            self.steps -= 1

        yield advance

    def note(self, line: str) -> None:
        """Nothing to tell."""
