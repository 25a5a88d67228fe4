"""Processes that share items: every item once, whatever dies; none outlives its parent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_jobs import Toy, ToyJob, living

from s2l.engines import local
from s2l.errors import MachineError, NumericsError
from s2l.run_folder import LOCK, hold


def done(folder: Path, items: list[Toy], processes: int = 2, seconds: float = 0.0) -> tuple[list[str], int]:
    """Names of the finished items, sorted, and the units told."""
    told: list[int] = []
    finished = [item.name for item in local.run(ToyJob(folder, seconds), items, processes, told.append)]
    return sorted(finished), sum(told)


def workers(folder: Path, name: str) -> list[str]:
    """Which processes wrote the item's file."""
    return (folder / name).read_text().splitlines()


def eventually(true: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("processes", [1, 2, 9])
def test_every_item_is_done_once(tmp_path: Path, processes: int) -> None:
    items = [Toy(name) for name in "abcd"]
    assert done(tmp_path, items, processes) == (["a", "b", "c", "d"], 40)
    assert [len(workers(tmp_path, name)) for name in "abcd"] == [1] * 4
    assert len(list(tmp_path.glob("alive-*"))) <= min(processes, 4)
    assert living(tmp_path) == 0


def test_a_process_keeps_to_its_group_and_the_last_group_is_shared(tmp_path: Path) -> None:
    items = [Toy(f"{group}{k}", group) for group in (1, 2, 3) for k in range(3)]
    done(tmp_path, items, seconds=0.3)
    at_work = [{workers(tmp_path, f"{group}{k}")[0] for k in range(3)} for group in (1, 2, 3)]
    assert [len(seats) for seats in at_work] == [1, 1, 2]
    assert at_work[0] != at_work[1]


@pytest.mark.parametrize("mishap", ["kill once", "exit once"])
def test_what_a_dead_process_had_in_hand_is_done_again(tmp_path: Path, mishap: str) -> None:
    items = [Toy("a"), Toy("b", mishap=mishap), Toy("c"), Toy("d", mishap=mishap), Toy("e")]
    assert done(tmp_path, items) == (["a", "b", "c", "d", "e"], 50)


@pytest.mark.parametrize(("mishap", "cause"), [("kill", "by SIGKILL"), ("exit", "with exit code 3")])
def test_an_item_that_ends_two_processes_ends_the_run_in_one_line(tmp_path: Path, mishap: str, cause: str) -> None:
    with pytest.raises(MachineError, match=rf"^toy b: 2 processes in a row died of it, the last {cause}; ") as caught:
        done(tmp_path, [Toy("a"), Toy("b", mishap=mishap), Toy("c")])
    assert "\n" not in str(caught.value)
    assert living(tmp_path) == 0


def test_an_error_in_a_process_is_the_same_error_here(tmp_path: Path) -> None:
    with pytest.raises(NumericsError) as caught:
        done(tmp_path, [Toy("a"), Toy("b", mishap="nan")], processes=1)
    assert str(caught.value) == "toy b: not a number"
    assert living(tmp_path) == 0


def test_an_error_that_cannot_travel_comes_as_its_text(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="UntravelledError: no way"):
        list(local.run(ToyJob(tmp_path), [Toy("a", mishap="untravelled")], 1, lambda _units: None))


def test_a_bug_in_a_process_shows_where_it_is(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="a bug") as caught:
        done(tmp_path, [Toy("a", mishap="bug")])
    assert "toy_jobs.py" in caught.value.__notes__[0]


def test_a_process_does_not_hold_the_run_folder(tmp_path: Path) -> None:
    with hold(tmp_path / "run") as folder:
        done(tmp_path, [Toy("a", mishap="descriptors")])
        lock = (folder.path / LOCK).stat().st_ino
    inodes = (tmp_path / "inodes").read_text().split()
    assert inodes
    assert str(lock) not in inodes


def test_a_reader_that_stops_ends_the_processes(tmp_path: Path) -> None:
    finished = local.run(ToyJob(tmp_path), [Toy("a"), Toy("b"), Toy("c")], 2, lambda _units: None)
    next(finished)
    finished.close()  # type: ignore[attr-defined]
    assert living(tmp_path) == 0


def parent(folder: Path) -> subprocess.Popen[str]:
    """A parent of two busy processes, in a process group of its own as a terminal would start it."""
    script = Path(__file__).with_name("local_driver.py")
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder)], stderr=subprocess.PIPE, text=True, process_group=0
    )
    assert eventually(lambda: living(folder) == 2)
    return process


def test_no_process_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    process = parent(tmp_path)
    process.kill()
    assert eventually(lambda: living(tmp_path) == 0, seconds=5)
    assert process.communicate()[1] == ""


def test_ctrl_c_ends_all_at_once_and_without_a_word(tmp_path: Path) -> None:
    process = parent(tmp_path)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=5)
    assert (process.returncode, err) == (130, "")
    assert living(tmp_path) == 0
