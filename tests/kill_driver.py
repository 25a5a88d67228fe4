"""Runs s2l commands, each in a process of its own, and strikes it down at a named point.

Reads one job a line as JSON, answers with one line: code (negative: the signal that ended it), out, err. A job has
the `words` of the command, and maybe: `strike`, the function (`module:name`) that is struck at its call number `at`;
`manner`, one of MANNERS; `file_size`, the bytes that no file may exceed, as on a full disk.
"""

import json
import os
import resource
import signal
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import s2l.library
import s2l.pipeline
import s2l.report.summary  # noqa: F401
from forked import end_as
from s2l.cli import main
from s2l.trajectories import store

SHARD_ROWS = 40
MANNERS = ("kill", "tear", "interrupt")


def strike(target: str, at: int, manner: str) -> None:
    """Replace the function by one that, at its call number `at`, ends this process.

    kill: before it does anything. tear: after it wrote a file, half of which is lost. interrupt: by Ctrl-C.
    """
    assert manner in MANNERS
    module, _, path = target.partition(":")
    owner = import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    original, calls = getattr(owner, name), 0

    def struck(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            if manner == "tear":
                original(*args, **kwargs)
                written = next(Path(arg) for arg in args if isinstance(arg, str | Path))
                os.truncate(written, written.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGINT if manner == "interrupt" else signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(owner, name, struck)


def work(job: dict[str, Any], out: int, err: int) -> None:
    """The job itself; never returns."""
    os.dup2(out, 1)
    os.dup2(err, 2)
    if "strike" in job:
        strike(job["strike"], job.get("at", 1), job.get("manner", "kill"))
    if "file_size" in job:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["file_size"], job["file_size"]))
    sys.argv = ["s2l", *job["words"]]
    end_as(main)


def serve() -> None:
    """Jobs until the end of stdin."""
    store.SHARD_ROWS = SHARD_ROWS
    for line in sys.stdin:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = os.fork()
            if child == 0:
                work(json.loads(line), out.fileno(), err.fileno())
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            texts = {}
            for name, file in (("out", out), ("err", err)):
                file.seek(0)
                texts[name] = file.read().decode(errors="backslashreplace")
        print(json.dumps({"code": code, **texts}), flush=True)


if __name__ == "__main__":
    serve()
