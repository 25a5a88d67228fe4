"""Pools that are `datasets.Dataset`s: folders made by `save_to_disk`, and hub ids."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from s2l.config import PoolSettings
from s2l.data.containers import KINDS, has_known_suffix, one_line_errors
from s2l.data.formats import listed
from s2l.data.record import Record
from s2l.data.table_records import BATCH_ROWS, batch_records
from s2l.data.url import check, is_url
from s2l.errors import DataError, MachineError, printable, shown

if TYPE_CHECKING:
    import datasets

Where = Literal["files", "dataset", "hub"]
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
WORD_SUFFIX = re.compile(r"\.[A-Za-z]{1,8}(\.(gz|zst))?$")


def whereabouts(paths: tuple[str, ...]) -> Where:
    """Whether the paths are files (or URLs of files), a saved `datasets` folder or a hub id.

    Raises DataError where they are neither, SettingsError for a URL with a secret in it.
    """
    for path in paths:
        if is_url(path):
            check(path)
            continue
        if Path(path).is_file():
            continue
        alone = len(paths) == 1
        if Path(path).is_dir():
            if alone and _is_saved(Path(path)):
                return "dataset"
            raise DataError(_wrong_folder(Path(path), alone))
        if alone and _is_hub_id(path):
            return "hub"
        raise DataError(f"{printable(path)}: no such file")
    return "files"


def load_source_dataset(settings: PoolSettings) -> datasets.Dataset:
    """The Dataset that a saved folder or a hub id holds.

    Raises DataError for a split or configuration that is not there, MachineError where the hub cannot be reached.
    """
    path = settings.paths[0]
    return _load_saved(path, settings.split) if whereabouts(settings.paths) == "dataset" else _load_hub(path, settings)


def dataset_records(dataset: datasets.Dataset, name: str) -> Iterator[Record]:
    """The rows of a Dataset in its order, as Arrow holds them: nothing is decoded."""
    tables = dataset.with_format("arrow").iter(BATCH_ROWS)
    return batch_records((batch for table in tables for batch in table.to_batches()), name)


def _is_saved(folder: Path) -> bool:
    return (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file()


def _wrong_folder(folder: Path, alone: bool) -> str:
    name = printable(str(folder))
    if not alone:
        return f"{name}: a folder among several paths; a saved datasets folder stands alone"
    files = sorted(path.name for path in folder.iterdir() if has_known_suffix(path))
    if files:
        return f"{name}: a folder, not a file; name the files in it: {listed(files)}"
    return f"{name}: neither a folder made by save_to_disk nor files ({', '.join(KINDS)}, also with .gz or .zst)"


def _is_hub_id(path: str) -> bool:
    is_file_name = has_known_suffix(path) or WORD_SUFFIX.search(path)
    return bool(HUB_ID.fullmatch(path)) and not is_file_name and not Path(path).parent.exists()


def _load_saved(path: str, split: str) -> datasets.Dataset:
    import datasets

    with one_line_errors(path):
        try:
            loaded = datasets.load_from_disk(path)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{printable(path)}: the saved dataset is damaged: {shown(str(error))}") from None
    if isinstance(loaded, datasets.Dataset):
        return loaded
    if split not in loaded:
        raise DataError(f"{printable(path)}: no split {shown(split)}; there are: {listed(list(loaded))} (--split)")
    return loaded[split]


def _load_hub(path: str, settings: PoolSettings) -> datasets.Dataset:
    import datasets

    way_out = "; load it on a machine with a connection and pass its files, or the folder of save_to_disk"
    try:
        with _quiet_retries():
            dataset = datasets.load_dataset(
                path, settings.config, split=settings.split, revision=settings.revision, streaming=False
            )
    except datasets.exceptions.DatasetNotFoundError as error:
        raise MachineError(f"{path}: {_first_line(error)}{way_out}") from None
    except ValueError as error:
        raise DataError(f"{path}: {_first_line(error)} (--config, --split, --revision)") from None
    except (OSError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise MachineError(f"{path}: {_first_line(error)}{way_out}") from None
    if not isinstance(dataset, datasets.Dataset):
        raise DataError(f"{path}: split {shown(settings.split)} names several; name one with --split")
    return dataset


@contextmanager
def _quiet_retries() -> Iterator[None]:
    """Silence the hub client's line per retry: the one line that matters is the error at the end."""
    loggers = [logging.getLogger(name) for name in ("huggingface_hub", "datasets")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _first_line(error: Exception) -> str:
    return printable(str(error).split("\n", 1)[0][:300]).rstrip(". ")
