"""The run folder: one process, one set of inputs."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from s2l.errors import BusyError, RunFolderError
from s2l.provenance import peak_memory
from s2l.run_folder import LOCK, MANIFEST, RUN, hold
from s2l.types import Pool, Rows

SETTINGS = {"pool": {"paths": ["a.jsonl"], "format": "auto"}, "proxy": {"epochs": None, "device": "auto"}, "seed": 0}
HOLDER = """
import os, subprocess, sys, time
from multiprocessing import get_context
from pathlib import Path
from s2l.run_folder import hold

with hold(Path(sys.argv[1])):
    child = None
    if sys.argv[2] == "fork":
        child = get_context("fork").Process(target=time.sleep, args=(60,))
        child.start()
    if sys.argv[2] == "spawn":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
    print(child.pid if child else 0, flush=True)
    sys.stdin.read()
"""


def pool_of(digest: str = "d" * 64) -> Pool:
    none = np.empty(0, dtype=np.int64)
    rows = Rows(np.empty(0, dtype="S24"), none, none, (), none, (), none, none)
    return Pool(rows, pa.chunked_array([], pa.large_binary()), digest, "jsonl", "pair")


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Callable[[str], tuple[subprocess.Popen[str], int]]]:
    """Start a process that holds the folder until it is told to end; its child, if any, outlives it."""
    with ExitStack() as stack:

        def start(child: str) -> tuple[subprocess.Popen[str], int]:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", HOLDER, str(tmp_path), child],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            pid = int(process.stdout.readline())
            if pid:
                stack.callback(os.kill, pid, signal.SIGKILL)
            return process, pid

        yield start


def test_a_second_process_is_refused_until_the_first_has_ended(tmp_path: Path, holder) -> None:
    process, _ = holder("none")
    with pytest.raises(BusyError, match="another process is at work in this folder"), hold(tmp_path):
        pass
    process.communicate()
    with hold(tmp_path):
        pass


@pytest.mark.parametrize("child", ["fork", "spawn"])
def test_a_child_that_outlives_a_killed_run_does_not_keep_the_lock(child: str, tmp_path: Path, holder) -> None:
    process, pid = holder(child)
    process.kill()
    process.wait()
    os.kill(pid, 0)
    with hold(tmp_path):
        pass


def test_one_process_holds_a_folder_once(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with hold(tmp_path / "run"):
        for path in (tmp_path / "run", tmp_path / "link"):
            with pytest.raises(BusyError), hold(path):
                pass
    with hold(tmp_path / "run"):
        pass


def test_the_lock_ends_with_the_block_however_it_ends(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), hold(tmp_path):
        raise KeyboardInterrupt
    with hold(tmp_path):
        pass


def test_a_folder_is_claimed_once_and_the_same_claim_goes_on(tmp_path: Path) -> None:
    for _ in range(2):
        with hold(tmp_path / "deep" / "run") as folder:
            folder.claim(SETTINGS, pool_of())
            assert folder.claimed()["settings"] == SETTINGS


def test_changed_settings_are_refused_by_name(tmp_path: Path) -> None:
    changed = {**SETTINGS, "proxy": {"epochs": 2.0, "device": "auto"}, "seed": 1}
    with hold(tmp_path) as folder:
        folder.claim(SETTINGS, pool_of())
        folder.tokens.touch()
        with pytest.raises(RunFolderError) as error:
            folder.claim(changed, pool_of())
        assert "made with other settings: --epochs was 'None', now '2.0'; --seed was '0', now '1'" in str(error.value)
        assert folder.claimed()["settings"] == SETTINGS


def test_hostile_settings_are_shown_on_one_line(tmp_path: Path) -> None:
    with hold(tmp_path) as folder:
        folder.claim({"keep": "a"}, pool_of())
        folder.tokens.touch()
        with pytest.raises(RunFolderError) as error:
            folder.claim({"keep": "\x1b[2J\n" * 99}, pool_of())
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)


def test_a_pool_that_moved_and_one_that_changed_are_refused(tmp_path: Path) -> None:
    moved = {**SETTINGS, "pool": {"paths": ["elsewhere/a.jsonl"], "format": "auto"}}
    with hold(tmp_path) as folder:
        folder.claim(SETTINGS, pool_of())
        folder.tokens.touch()
        with pytest.raises(RunFolderError, match=r"pool\.paths was '.*', now 'elsewhere/a\.jsonl'"):
            folder.claim(moved, pool_of())
        with pytest.raises(RunFolderError, match="the pool has changed since; use another --out"):
            folder.claim(SETTINGS, pool_of("e" * 64))


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"settings": {}}', '{"settings": {}, "pool": 1}', "null"])
def test_a_damaged_claim_is_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / RUN).write_text(content)
    with hold(tmp_path) as folder, pytest.raises(RunFolderError, match=r"run\.json: damaged; use another --out"):
        folder.claim(SETTINGS, pool_of())


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    for name in ("thesis.docx", "download.part", "evil\x1b[2J\n"):
        folder = tmp_path / name.split(".", maxsplit=1)[0][:4]
        folder.mkdir()
        (folder / name).write_text("mine")
        with pytest.raises(RunFolderError, match="holds other files, such as") as error, hold(folder):
            pass
        assert str(error.value).isprintable()
        assert [path.name for path in folder.iterdir()] == [name]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunFolderError, match="a file, not a folder; use another --out"), hold(tmp_path / "file"):
        pass


def test_a_folder_that_must_be_a_run_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"no run of s2l \(no run\.json in it\)"):  # noqa: SIM117
        with hold(tmp_path / "nowhere", must_exist=True):
            pass
    assert not (tmp_path / "nowhere").exists()


def test_what_was_left_half_written_is_removed_and_the_rest_stays(tmp_path: Path) -> None:
    with hold(tmp_path) as folder:
        folder.claim(SETTINGS, pool_of())
    (tmp_path / "proxy" / "step-1.part" / "inner.part").mkdir(parents=True)
    (tmp_path / "proxy" / "step-0").mkdir()
    (tmp_path / "trajectories.parquet.part").write_text("half")
    for deep in ("embeddings-response/step-1", "after-12ab", "after-12ab/means/step-1"):
        (tmp_path / "representations" / deep).mkdir(parents=True)
        (tmp_path / "representations" / deep / "shard.parquet.part").write_text("half")
    (tmp_path / "representations" / "after-12ab" / "step-2.part" / "inner.part").mkdir(parents=True)
    with hold(tmp_path):
        left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    deep = {name for name in left if name.startswith("representations")}
    assert left - deep == {LOCK, RUN, "proxy", "proxy/step-0"}
    assert not any(name.endswith(".part") for name in deep)


def test_a_run_killed_before_its_claim_goes_on(tmp_path: Path) -> None:
    (tmp_path / LOCK).touch()
    (tmp_path / f"{RUN}.part").write_text("{")
    with hold(tmp_path) as folder:
        folder.claim(SETTINGS, pool_of())
        assert not folder.manifest.is_file()
    assert {path.name for path in tmp_path.iterdir()} == {LOCK, RUN}
    assert folder.manifest.name == MANIFEST


def test_seconds_add_up_over_attempts_and_survive_an_error(tmp_path: Path) -> None:
    with hold(tmp_path) as folder:
        folder.spent("read", 1.5)
        with pytest.raises(ValueError, match="stop"), folder.timed("read"):
            raise ValueError("stop")
        folder.spent("train", 2.0)
        assert set(folder.seconds()) == {"read", "train"}
        assert folder.seconds()["read"] >= 1.5
        (tmp_path / "seconds.json").write_text("{")
        assert folder.seconds() == {}


def test_peak_memory_is_in_bytes() -> None:
    assert 10**7 < peak_memory() < 10**12
    assert json.dumps(peak_memory())
