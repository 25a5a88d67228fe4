"""Files that exist only when complete."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from s2l.errors import MachineError
from s2l.files import PART, full_disk_is_one_line, read_json, remove, sha256_of, write_json, written_whole
from s2l.proxy.builtin import fit_tokenizer
from toy_models import toy_model


def test_a_file_is_there_only_once_the_block_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.txt"
    with written_whole(path) as part:
        part.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_crash_leaves_the_old_file_as_it_was(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(error), written_whole(path) as part:
        part.write_text("half")
        raise error
    assert path.read_text() == "old"
    with written_whole(path) as part:
        assert not part.exists()
        part.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for name in ("first", "second"):
        with written_whole(path) as part:
            (part / "deep").mkdir(parents=True)
            (part / "deep" / name).write_text(name)
    assert [child.name for child in path.rglob("*")] == ["deep", "second"]
    assert list(tmp_path.iterdir()) == [path]


def test_everything_is_on_the_disk_before_it_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[int, bool]] = []
    path = tmp_path / "folder"
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append((os.fstat(descriptor).st_ino, path.exists())))
    with written_whole(path) as part:
        part.mkdir()
        (part / "a").touch()
        (part / "b").touch()
    files = sorted((child.stat().st_ino, False) for child in path.iterdir())
    assert sorted(synced[:-1]) == files
    assert synced[-1] == (tmp_path.stat().st_ino, True)


WRITERS: dict[str, Callable[[Path], object]] = {
    "python": lambda path: path.write_bytes(bytes(200_000)),
    "parquet": lambda path: pq.write_table(pa.table({"a": np.random.default_rng(0).random(100_000)}), path),
    "safetensors": lambda path: save_file({"a": torch.zeros(100_000)}, path),
    "torch": lambda path: torch.save(torch.zeros(100_000), path),
    "tokenizer": lambda path: fit_tokenizer(map(str, range(9)), 4096).backend_tokenizer.save(f"{path}"),
    "model": lambda path: toy_model().save_pretrained(path),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_one_line_whoever_writes(writer: str, tmp_path: Path, full_disk) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    room = 1_000 if writer == "tokenizer" else 100_000
    with full_disk(room), pytest.raises(MachineError) as error, written_whole(path) as part:
        WRITERS[writer](part)
    assert str(error.value) == (
        f"{path}: no room on the disk; nothing is lost: free some and run the same command again"
    )
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_at_the_last_moment_is_one_line(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(MachineError, match="no room on the disk"):
        write_json(tmp_path / "value.json", 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error", [PermissionError(errno.EACCES, "denied"), RuntimeError("os error"), MachineError("x")]
)
def test_other_errors_stay_what_they_are(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as raised, full_disk_is_one_line(tmp_path):
        raise error
    assert raised.value is error


@pytest.mark.parametrize("value", [{"a": [1, None, "ü\u2028"]}, [], 0.1, {"odd\udcff": "\ud800x"}])
def test_json_comes_back(value: object, tmp_path: Path) -> None:
    write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == value
    assert (tmp_path / "value.json").read_text(encoding="utf-8").endswith("\n")


def test_a_value_that_is_no_json_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, 1)
    for value in (float("nan"), object()):
        with pytest.raises((ValueError, TypeError)):
            write_json(path, value)
    assert json.loads(path.read_text()) == 1
    assert not path.with_name(path.name + PART).exists()


def test_the_digest_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_removing_follows_no_link_and_misses_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    for name in ("link", "nothing"):
        remove(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert (tmp_path / "folder" / "file").exists()
    remove(tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []
