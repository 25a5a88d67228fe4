"""A DDP training of the toy with or without a recorder: two processes, forked from one that has imported everything.

    python training_driver.py JSON     {"model": …, "pool": …, "folder": …, "record": "recorded", "resume": null}

The first process writes its losses to FOLDER/losses-RANK.json; shards are of 64 rows, so that there is work for both.
"""

import json
import os
import socket
import sys
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import torch
from toy_trainings import CHECKPOINTS, Naive, trained, trainer_of

import s2l
from forked import end_as
from s2l.recording.callback.recorder import TrajectoryRecorder
from s2l.trajectories import store

RANKS = 2


def training(job: dict[str, Any], rank: int) -> None:
    """One process's part."""
    store.SHARD_ROWS = 64
    folder = Path(job["folder"])
    flags = {"template": "short", "max_length": 64, "checkpoints": CHECKPOINTS}
    recorders = [TrajectoryRecorder(job["pool"], folder / "run", **flags)] if job["record"] == "recorded" else []
    arguments = {"per_device_train_batch_size": 2, "save_strategy": "steps", "save_steps": 6}
    trainer = trainer_of(Path(job["model"]), folder / "trained", *recorders, kind=Naive, **arguments)
    if job["record"] == "seen":
        pool = datasets.Dataset.from_list(list(trainer.train_dataset))
        trainer.add_callback(TrajectoryRecorder(pool, folder / "run", losses="seen", max_length=64))
    losses, _ = trained(trainer, resume_from_checkpoint=job["resume"])
    (folder / f"losses-{rank}.json").write_text(json.dumps(losses))
    (folder / f"passes-{rank}.json").write_text(json.dumps(trainer.passes))
    torch.distributed.destroy_process_group()


def start(job: dict[str, Any]) -> int:
    """The highest exit code of the processes."""
    assert s2l.TrajectoryRecorder is TrajectoryRecorder
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(RANKS):
        if (child := os.fork()) == 0:
            torch.set_num_threads(1)
            place = {"WORLD_SIZE": RANKS, "LOCAL_WORLD_SIZE": RANKS, "RANK": rank, "LOCAL_RANK": rank}
            os.environ |= {name: str(value) for name, value in place.items()}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
            end_as(partial(training, job, rank))
        children.append(child)
    return max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


if __name__ == "__main__":
    sys.exit(max(start(job) for job in json.loads(sys.argv[1])))
