"""Starts the processes of a launcher, forked from one that has imported everything.

Reads one job a line as JSON and answers with one line: for each process its code (negative: the signal that ended it),
stdout and stderr. A job has `ranks`, how many, and either the `words` of an s2l command or a `toy` training: keywords
of `toy_training`. `kill` is the rank that is killed once the path `once` matches something.
"""

import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch

import s2l.pipeline
import s2l.report.summary  # noqa: F401
from forked import end_as
from s2l.cli import main
from s2l.config import ProxySettings
from s2l.progress import SILENT
from s2l.proxy.plan import Plan, make_plan
from s2l.proxy.ranks import GoneError, joined
from s2l.proxy.step import Stepper
from s2l.proxy.train import train
from toy_models import toy_model, toy_tokens

TOKENS = toy_tokens(160)


def plan_of(steps: int, workers: int) -> Plan:
    """The plan of every toy training; 20 steps to an epoch."""
    settings = ProxySettings(model="builtin", batch_size=8, epochs=steps / 20, learning_rate=1e-3, checkpoints=3)
    made = make_plan(len(TOKENS), settings, batch_tokens=200, threads=workers, device="cpu", seed=0)
    return Plan.from_json({**made.as_json(), "workers": workers})


def toy_training(folder: str, steps: int, workers: int = 1, fitting: int = 10**6, extra: int = 0) -> None:
    """Train, or help to; the first process writes each step's loss. Only `fitting` tokens fit into the last one.

    extra: a parameter is there that only the last process has a gradient for.
    """
    plan, model = plan_of(steps, workers), toy_model()
    with joined() as ranks, suppress(GoneError):
        if extra:
            one = torch.nn.Linear(1, 1, bias=False)
            one.weight.grad = None if ranks.leads else torch.full((1, 1), 3.0)
            ranks.sum_gradients(one)
            extra_gradient = one.weight.grad.flatten().tolist()
        if ranks.rank == ranks.world - 1:
            model.base_model.register_forward_pre_hook(allocator(fitting), with_kwargs=True)
        if not ranks.leads:
            with torch.no_grad():
                model.get_output_embeddings().weight.fill_(0)  # it gets the weights of the first
            with closing(Stepper(model, TOKENS, plan, ranks)) as stepper:
                stepper.follow()
            return
        lead, losses = Stepper.lead, []

        def noted(self: Stepper, step: int, batch_tokens: int) -> torch.Tensor:
            loss = lead(self, step, batch_tokens)
            losses.append(loss.item())
            return loss

        Stepper.lead = noted
        found = train(model, TOKENS, plan, Path(folder), SILENT, ranks=ranks)
    result = {"losses": losses, "steps": [made.step for made in found]}
    if extra:
        result["extra_gradient"] = extra_gradient
    Path(folder, "losses.json").write_text(json.dumps(result))


def allocator(fitting: int) -> Callable[..., None]:
    """A hook that has no memory for more than so many tokens."""

    def allocate(_module: torch.nn.Module, given: tuple, named: dict[str, torch.Tensor]) -> None:
        if (given[0] if given else named["input_ids"]).numel() > fitting:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    return allocate


def work(job: dict[str, Any], rank: int, port: int, out: int, err: int) -> None:
    """Be one of the processes; never returns."""
    os.dup2(out, 1)
    os.dup2(err, 2)
    torch.set_num_threads(1)
    group = {"WORLD_SIZE": job["ranks"], "LOCAL_WORLD_SIZE": job["ranks"], "RANK": rank, "LOCAL_RANK": rank}
    os.environ |= {name: str(value) for name, value in group.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    sys.argv = ["s2l", *job.get("words", [])]
    end_as(partial(toy_training, **job["toy"]) if "toy" in job else main)


def start(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Run the job's processes to their ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    files = [[tempfile.TemporaryFile() for _ in ("out", "err")] for _ in range(job["ranks"])]  # noqa: SIM115
    children = []
    for rank, (out, err) in enumerate(files):
        child = os.fork()
        if child == 0:
            work(job, rank, port, out.fileno(), err.fileno())
        children.append(child)
    if "kill" in job:
        path, deadline = Path(job["once"]), time.monotonic() + 60
        while not list(path.parent.glob(path.name)) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(children[job["kill"]], signal.SIGKILL)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    texts = []
    for pair in files:
        for file in pair:
            file.seek(0)
        texts.append([file.read().decode(errors="backslashreplace") for file in pair])
    return [{"code": code, "out": out, "err": err} for code, (out, err) in zip(codes, texts, strict=True)]


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(start(json.loads(line))), flush=True)
