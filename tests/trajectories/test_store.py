"""Sums on disk: what is done, what is refused, and that it all comes back."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2l.errors import RunFolderError
from s2l.trajectories import arrays, store
from s2l.types import STATISTICS, Checkpoint, Tokens
from toy_models import toy_tokens

TOKENS = toy_tokens(10)
FIRST, SECOND = (Checkpoint(step, Path("unused"), f"{step:064x}") for step in (4, 9))


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows in a shard, so that ten rows make four."""
    monkeypatch.setattr(store, "SHARD_ROWS", 3)


def sums_of(checkpoint: Checkpoint, rows: int = len(TOKENS)) -> np.ndarray:
    rng = np.random.default_rng(checkpoint.step)
    return rng.standard_normal((len(STATISTICS), rows)).astype(np.float32)


def write(folder: Path, *checkpoints: Checkpoint, tokens: Tokens = TOKENS, reverse: bool = False) -> None:
    for checkpoint in checkpoints:
        sums_SN = sums_of(checkpoint, len(tokens))
        items = store.work_items(len(tokens), checkpoint)
        for item in items[::-1] if reverse else items:
            store.write_item(item, folder, tokens, sums_SN[:, item.rows.start : item.rows.stop])


@given(rows=st.integers(1, 50))
def test_shards_cover_every_row_once(rows: int) -> None:
    items = store.work_items(rows, FIRST)
    assert [row for item in items for row in item.rows] == list(range(rows))
    assert len({item.path(Path("folder")) for item in items}) == len(items)


@pytest.mark.parametrize("reverse", [False, True])
def test_what_was_written_comes_back_in_id_order(reverse: bool, tmp_path: Path) -> None:
    write(tmp_path, SECOND, FIRST, reverse=reverse)
    trajectories = store.load(tmp_path, [4, 9])
    assert np.array_equal(trajectories.ids, TOKENS.ids)
    assert np.array_equal(trajectories.tokens_N, TOKENS.response_lengths)
    assert trajectories.steps == (4, 9)
    for s, name in enumerate(STATISTICS):
        expected_NT = np.stack([sums_of(FIRST)[s], sums_of(SECOND)[s]], axis=1)
        assert trajectories.sums[name].dtype == np.float32
        assert np.array_equal(trajectories.sums[name], expected_NT)


@settings(max_examples=30)
@given(value=st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_every_float_keeps_its_bits(value: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("store")
    item, tokens = store.work_items(1, FIRST)[0], toy_tokens(1)
    store.write_item(item, folder, tokens, np.full((len(STATISTICS), 1), value, dtype=np.float32))
    assert store.load(folder, [4]).sums["nll"].tobytes() == np.float32(value).tobytes()


def test_an_item_is_done_once_its_file_is_there(tmp_path: Path) -> None:
    items = store.work_items(len(TOKENS), FIRST)
    assert not any(store.is_done(item, tmp_path, TOKENS.ids) for item in items)
    write(tmp_path, FIRST)
    assert all(store.is_done(item, tmp_path, TOKENS.ids) for item in items)
    assert {path.name for path in tmp_path.rglob("*.parquet")} == {f"shard-0000{k}.parquet" for k in range(4)}


def test_a_half_written_file_is_not_done(tmp_path: Path) -> None:
    item = store.work_items(len(TOKENS), FIRST)[0]
    item.path(tmp_path).parent.mkdir()
    item.path(tmp_path).with_name("shard-00000.parquet.part").write_bytes(b"PAR1")
    assert not store.is_done(item, tmp_path, TOKENS.ids)
    with pytest.raises(RunFolderError, match="no recorded losses; run the same command again"):
        store.load(tmp_path, [4])


def test_a_shard_that_is_missing_from_one_checkpoint_is_noticed(tmp_path: Path) -> None:
    for shard in range(4):
        write(tmp_path, FIRST, SECOND)
        store.work_items(len(TOKENS), SECOND)[shard].path(tmp_path).unlink()
        with pytest.raises(RunFolderError, match=r"step-00000009: other rows than at step 4: a shard is missing"):
            store.load(tmp_path, [4, 9])


def test_sums_of_another_checkpoint_are_refused(tmp_path: Path) -> None:
    write(tmp_path, FIRST)
    item = store.work_items(len(TOKENS), Checkpoint(4, Path("unused"), "f" * 64))[1]
    with pytest.raises(RunFolderError, match=r"shard-00001\.parquet: recorded from another checkpoint"):
        store.is_done(item, tmp_path, TOKENS.ids)


def test_sums_of_other_rows_are_refused(tmp_path: Path) -> None:
    write(tmp_path, FIRST)
    others = TOKENS.ids.copy()
    others[4] = b"%024x" % (int(others[4], 16) + 1)
    items = store.work_items(len(TOKENS), FIRST)
    assert store.is_done(items[0], tmp_path, others)
    with pytest.raises(RunFolderError, match=r"shard-00001\.parquet: holds other rows than this pool"):
        store.is_done(items[1], tmp_path, others)


def test_a_flipped_bit_is_noticed_or_harmless(tmp_path: Path) -> None:
    """Harmless: it hit a statistic or a name of the writer, which nothing reads."""
    write(tmp_path, FIRST, tokens=toy_tokens(2))
    item, ids = store.work_items(2, FIRST)[0], toy_tokens(2).ids
    path, noticed = item.path(tmp_path), 0
    content = path.read_bytes()
    for at in range(0, len(content), 3):
        damaged = bytearray(content)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        try:
            assert store.is_done(item, tmp_path, ids)
            loaded = store.load(tmp_path, [4])
        except RunFolderError as error:
            assert "\n" not in str(error)
            noticed += 1
        else:
            assert np.array_equal(loaded.ids, ids)
            assert np.array_equal(np.stack(list(loaded.sums.values()))[:, :, 0], sums_of(FIRST, 2))
    assert noticed > len(content) / 3 / 3


@pytest.mark.parametrize("content", [b"", b"PAR1", b"\0" * 1000])
def test_a_file_that_is_no_parquet_is_one_line(content: bytes, tmp_path: Path) -> None:
    write(tmp_path, FIRST)
    item = store.work_items(len(TOKENS), FIRST)[2]
    item.path(tmp_path).write_bytes(content)
    with pytest.raises(RunFolderError, match=r"shard-00002\.parquet: damaged; remove the file and run the same"):
        store.is_done(item, tmp_path, TOKENS.ids)
    with pytest.raises(RunFolderError, match="damaged"):
        store.load(tmp_path, [4])


def test_a_parquet_of_another_kind_is_one_line(tmp_path: Path) -> None:
    item = store.work_items(len(TOKENS), FIRST)[0]
    item.path(tmp_path).parent.mkdir()
    pq.write_table(pa.table({"id": ["a"], "nll": [1.0]}), item.path(tmp_path))
    with pytest.raises(RunFolderError, match="damaged"):
        store.is_done(item, tmp_path, TOKENS.ids)


def test_a_statistic_is_read_when_it_is_asked_for_and_kept(tmp_path: Path) -> None:
    write(tmp_path, FIRST)
    sums = store.load(tmp_path, [4]).sums
    kept = sums["nll"]
    store.work_items(len(TOKENS), FIRST)[0].path(tmp_path).unlink()
    assert sums["nll"] is kept
    assert list(sums) == list(STATISTICS)
    with pytest.raises(RunFolderError, match=r"shard-00000\.parquet: damaged"):
        sums["entropy"]
    with pytest.raises(KeyError):
        sums["entropies"]


def test_sums_larger_than_memory_should_hold_lie_on_disk_and_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, FIRST, SECOND)
    there = {path.name for path in tmp_path.iterdir()}
    in_memory = store.load(tmp_path, [4, 9]).sums["nll"]
    monkeypatch.setattr(arrays, "IN_MEMORY", 0)
    on_disk = store.load(tmp_path, [4, 9]).sums["nll"]
    assert isinstance(on_disk, np.memmap)
    assert np.array_equal(on_disk, in_memory)
    assert {path.name for path in tmp_path.iterdir()} == there


def test_a_disk_without_room_for_them_is_an_error_and_not_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    monkeypatch.setattr(arrays, "IN_MEMORY", 0)
    with full_disk(1000), pytest.raises(OSError, match="File too large"):
        arrays.empty((1000, 12), np.float32, tmp_path)


def test_shards_of_an_addition_are_read_into_id_order(tmp_path: Path) -> None:
    added = np.array([1, 4, 5])
    others = np.setdiff1d(np.arange(len(TOKENS)), added)
    sums_Sn = np.arange(len(STATISTICS) * len(TOKENS), dtype=np.float32).reshape(len(STATISTICS), -1)
    for addition, rows in enumerate((others, added)):
        for item in store.work_items(len(rows), FIRST, addition):
            part = rows[item.rows.start : item.rows.stop]
            store.write_item(item, tmp_path, TOKENS.of(rows), sums_Sn[:, part])
            assert store.is_done(item, tmp_path, TOKENS.ids[rows])
    found = store.load(tmp_path, [FIRST.step])
    assert np.array_equal(found.ids, TOKENS.ids)
    assert np.array_equal(found.tokens_N, TOKENS.response_lengths)
    for statistic, sum_n in zip(STATISTICS, sums_Sn, strict=True):
        assert np.array_equal(found.sums[statistic][:, 0], sum_n)
