"""How far a run is: finished, at work, stopped anywhere, damaged; and asking changes nothing."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from s2l.errors import RunFolderError
from s2l.look.status import status
from s2l.run_folder import hold, holder_of
from toy_runs import FLAGS, Driver, files_of

STAGES = ["read", "tokenize", "train the proxy", "record trajectories", "signal", "cluster and draw", "export"]
DRIVERS_SHARD_ROWS = 40
HOLD = """
import sys
from pathlib import Path
from s2l.errors import BusyError
from s2l.run_folder import hold

try:
    with hold(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
except BusyError:
    print("busy", flush=True)
"""


@contextmanager
def other_process(path: Path) -> Iterator[tuple[str, int]]:
    """A process that tries to hold the folder: what came of it, and its number."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        yield process.stdout.readline().strip(), process.pid
        process.stdin.close()


def states(found: dict[str, Any]) -> dict[str, str]:
    return {stage["name"]: stage["state"] for stage in found["stages"]}


def stage(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(stage for stage in found["stages"] if stage["name"] == name)


def test_a_finished_run_is_done_in_every_stage(own_run: Path) -> None:
    before = files_of(own_run)
    found = status(own_run)
    assert (found["state"], found["process"], found["command"]) == ("finished", None, None)
    assert states(found) == dict.fromkeys(STAGES, "done")
    assert [(s["done"], s["of"]) for s in found["stages"]] == [(1, 1), (2, 2), (4, 4), (4, 4), (1, 1), (1, 1), (2, 2)]
    seconds = json.loads((own_run / "seconds.json").read_text())
    assert found["seconds"] == pytest.approx(sum(seconds.values()))
    assert found["subsets"] == ["random-11pct", "s2l-11pct"]
    assert found["damaged"] == found["missing"] == found["half_written"] == []
    assert files_of(own_run) == before


STRUCK: dict[str, tuple[dict[str, Any], str, int, int | None]] = {
    "while tokenizing": ({"strike": "s2l.data.tokens:_cut"}, "tokenize", 0, 2),
    "between two checkpoints": (
        {"strike": "s2l.proxy.train:ProxyTrainer.training_step", "at": 6},
        "train the proxy",
        1,
        4,
    ),
    "between two shards": ({"strike": "s2l.scoring.record:score", "at": 6}, "record trajectories", 4, 16),
    "in the signal": ({"strike": "s2l.selection.kmeans:searcher"}, "signal", 0, 1),
    "between two subsets": ({"strike": "s2l.subsets:export", "at": 2}, "export", 1, 2),
}


def test_a_run_that_is_killed_again_and_again_says_each_time_where_it_stands(
    toy_pool: Path, tmp_path: Path, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s2l.look.status.SHARD_ROWS", DRIVERS_SHARD_ROWS)
    run = tmp_path / "run"
    words = ("run", toy_pool, "--budget", "11%", "--with-random", *FLAGS, "--out", run)
    for where, (job, at, done, of) in STRUCK.items():
        assert driver.run(*words, **job).code < 0, where
        found = status(run)
        assert (found["state"], found["process"], found["damaged"]) == ("stopped", None, []), where
        assert found["command"].startswith("s2l run "), where
        here = stage(found, at)
        assert (here["state"], here["of"]) == ("left", of), where
        assert here["done"] in {done, done - 1, done + 1}, (where, here)
        before = [s["state"] for s in found["stages"][: STAGES.index(at)]]
        assert set(before) <= {"done"}, where
    assert driver.run(*words).code == 0
    assert status(run)["state"] == "finished"


def test_the_command_it_gives_goes_on_with_the_run(toy_pool: Path, tmp_path: Path, driver: Driver) -> None:
    run = tmp_path / "run"
    driver.run("run", toy_pool, "--budget", "11%", *FLAGS, "--out", run, strike="s2l.scoring.record:score")
    command = status(run)["command"]
    assert driver.run(*shlex.split(command)[1:]).code == 0


def test_a_run_at_work_is_told_with_its_process_and_its_seconds(own_run: Path) -> None:
    for name in ("manifest.json", "signal.json"):
        (own_run / name).unlink()
    os.utime(own_run / "seconds.json", (1_000_000_000, 1_000_000_000))
    with other_process(own_run) as (said, process):
        assert said == "held"
        found = status(own_run)
        assert (found["state"], found["process"]) == ("at work", process)
        assert stage(found, "signal")["state"] == "at work"
        assert found["seconds_in_stage"] > 1e8
        assert found["seconds"] > found["seconds_in_stage"]
        assert found["seconds_left_in_stage"] is None
        with pytest.raises(RunFolderError), hold(own_run):
            pass
    assert status(own_run)["state"] == "stopped"


def test_what_is_left_of_a_stage_is_told_by_its_pace(own_run: Path) -> None:
    (own_run / "manifest.json").unlink()
    shards = sorted((own_run / "trajectories").glob("step-*/*.parquet"))
    shards[3].unlink()
    start = 1_000_000_000
    os.utime(own_run / "seconds.json", (start, start))
    for shard, at in zip(shards[:3], (start - 50, start + 10, start + 20), strict=True):
        os.utime(shard, (at, at))
    with hold(own_run):
        assert status(own_run)["seconds_left_in_stage"] == 0.0, "two in twenty seconds, one left, long ago"
        begun = time.time() - 20
        for path, at in ((own_run / "seconds.json", begun), (shards[1], begun + 10), (shards[2], begun + 20)):
            os.utime(path, (at, at))
        assert status(own_run)["seconds_left_in_stage"] == pytest.approx(10, abs=2)


def test_asking_does_not_give_the_lock_away(own_run: Path) -> None:
    with hold(own_run):
        assert status(own_run)["process"] == os.getpid() == holder_of(own_run)
        with other_process(own_run) as (said, _):
            assert said == "busy"
    assert holder_of(own_run) is None


def test_a_run_that_has_only_begun_is_reading(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with other_process(run) as (said, process):
        assert said == "held"
        found = status(run)
        assert (found["state"], found["process"]) == ("at work", process)
        assert states(found)["read"] == "at work"
        assert set(states(found).values()) == {"at work", "left"}
    with pytest.raises(RunFolderError, match="no run of s2l"):
        status(run)


DAMAGE = (
    "run.json",
    "seconds.json",
    "manifest.json",
    "signal.json",
    "rows.parquet",
    "tokens.arrow",
    "proxy/plan.json",
    "proxy/step-00000008/model.safetensors",
    "proxy/step-00000008/checkpoint.json",
    "trajectories/step-00000008/shard-00000.parquet",
    "subsets/s2l-11pct/selection.parquet",
    "subsets/s2l-11pct/manifest.json",
)


@pytest.mark.parametrize("name", DAMAGE)
def test_a_file_that_lost_its_end_is_named(name: str, own_run: Path) -> None:
    path = own_run / name
    os.truncate(path, path.stat().st_size // 2)
    found = status(own_run)
    assert (found["state"], found["damaged"]) == ("damaged", [name])
    assert len(found["stages"]) == len(STAGES)


@pytest.mark.parametrize("name", DAMAGE)
def test_a_file_of_noise_is_named(name: str, own_run: Path) -> None:
    (own_run / name).write_bytes(b"\xff\x00noise" * 9)
    assert status(own_run)["damaged"] == [name]


def test_what_a_finished_run_lacks_is_named(own_run: Path) -> None:
    (own_run / "trajectories/step-00000008/shard-00000.parquet").unlink()
    (own_run / "tokens.arrow").unlink()
    found = status(own_run)
    assert found["state"] == "damaged"
    assert found["missing"] == ["tokens.arrow", "trajectories/step-00000008/shard-00000.parquet"]


def test_what_is_half_written_is_named_and_left_alone(own_run: Path) -> None:
    (own_run / "proxy/step-00000099.part").mkdir()
    (own_run / "proxy/step-00000099.part/model.safetensors").write_bytes(b"half")
    (own_run / "manifest.json.part").write_text("{")
    found = status(own_run)
    assert found["half_written"] == ["manifest.json.part", "proxy/step-00000099.part"]
    assert found["state"] == "finished"
    assert (own_run / "manifest.json.part").is_file()


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone"):
        with pytest.raises(RunFolderError, match="no run of s2l"):
            status(path)


@pytest.mark.parametrize("name", ["run.json", "manifest.json", "proxy/plan.json", "seconds.json", "signal.json"])
@pytest.mark.parametrize("content", ["[]", "3", "null", '"text"'])
def test_a_record_that_holds_something_else_is_named(name: str, content: str, own_run: Path) -> None:
    (own_run / name).write_text(content)
    assert status(own_run)["damaged"] == [name]


def test_a_record_that_lacks_what_others_rest_on_is_named(own_run: Path) -> None:
    for name in ("run.json", "manifest.json", "proxy/plan.json"):
        (own_run / name).write_text("{}")
    assert status(own_run)["damaged"] == ["manifest.json", "proxy/plan.json", "run.json"]
