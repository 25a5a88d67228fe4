"""Saved `datasets` folders, Datasets in memory and hub ids as pools."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import datasets
import pytest

from s2l.config import PoolSettings
from s2l.data.hub import load_source_dataset, whereabouts
from s2l.data.pool import layout_of, pool_from_dataset, read_pool
from s2l.errors import DataError, MachineError

ROWS = [{"question": f"{i}?", "answer": str(i), "source": "s", "label": i % 2 == 0} for i in range(5)]


def settings(path: Path | str, split: str = "train") -> PoolSettings:
    return PoolSettings(paths=(str(path),), split=split)


def test_a_saved_folder_and_memory_give_the_same_rows(tmp_path: Path) -> None:
    dataset = datasets.Dataset.from_list(ROWS)
    dataset.save_to_disk(tmp_path / "saved")
    saved, memory = read_pool(settings(tmp_path / "saved")), pool_from_dataset(dataset)
    assert (saved.container, memory.container) == ("dataset", "memory")
    assert saved.rows.ids.tolist() == memory.rows.ids.tolist()
    assert saved.digest == memory.digest == sha256(saved.rows.ids.tobytes()).hexdigest()
    assert saved.rows.place(3) == f"{tmp_path / 'saved'}:4"
    assert memory.rows.place(3) == "memory:4"
    assert layout_of(settings(tmp_path / "saved"))[1] == {"prompt": "question", "response": "answer"}


def test_a_selected_and_formatted_dataset_is_read_in_its_own_order() -> None:
    dataset = datasets.Dataset.from_list(ROWS).select([4, 0]).with_format("numpy")
    pool = pool_from_dataset(dataset, columns={"prompt": "question"}, where={"label": "true"})
    assert [example.turns[1].text for example in pool.examples([0, 1])] == ["4", "0"]


def test_a_saved_folder_of_splits_needs_one_of_them(tmp_path: Path) -> None:
    splits = {name: datasets.Dataset.from_list(ROWS[:2]) for name in ("train", "test")}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    assert len(load_source_dataset(settings(tmp_path / "saved", "test"))) == 2
    with pytest.raises(DataError) as error:
        read_pool(settings(tmp_path / "saved", "dev"))
    assert str(error.value) == f"{tmp_path / 'saved'}: no split 'dev'; there are: train, test (--split)"


def test_other_folders_say_what_would_be_right(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither a folder made by save_to_disk nor files"):
        whereabouts((str(tmp_path),))
    (tmp_path / "a.jsonl").write_text("{}")
    with pytest.raises(DataError, match=r"a folder, not a file; name the files in it: a\.jsonl"):
        whereabouts((str(tmp_path),))
    with pytest.raises(DataError, match="a folder among several paths"):
        whereabouts((str(tmp_path / "a.jsonl"), str(tmp_path)))


def test_a_damaged_saved_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises((DataError, MachineError)) as error:
        read_pool(settings(tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "path", ["no.jsonl", "data/no.parquet", "data/train.txt", "no", "a/b/c", "org/name.json.zst", "../up"]
)
def test_what_looks_like_a_file_is_no_hub_id(path: str) -> None:
    with pytest.raises(DataError, match="no such file"):
        whereabouts((path,))


def test_a_name_under_a_folder_that_exists_is_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert whereabouts(("org/name",)) == "hub"
    (tmp_path / "org").mkdir()
    with pytest.raises(DataError, match="org/name: no such file"):
        whereabouts(("org/name",))


def test_an_unreachable_hub_is_one_line_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MachineError) as error:
        read_pool(settings("no-such-org/no-such-name"))
    assert "\n" not in str(error.value)
    assert "load it on a machine with a connection and pass its files, or the folder of save_to_disk" in str(
        error.value
    )
