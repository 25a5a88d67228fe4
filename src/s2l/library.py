"""The main job from Python: a pool in, the part of it to train on out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from s2l.config import RunSettings
from s2l.data.containers import container_of, iter_batches, iter_records
from s2l.data.hub import whereabouts
from s2l.data.pool import digest_of_files
from s2l.errors import DataError, SettingsError, printable
from s2l.flags import FLAGS, validated, with_flags, with_preset
from s2l.pipeline import read_from, run
from s2l.progress import SILENT, Progress
from s2l.proxy.ranks import launched

RUNS = Path("s2l-runs")
IN_MEMORY = "memory"


def select(
    pool: str | Path | Sequence[str | Path] | datasets.Dataset,
    budget: int | float | str,
    *,
    out: str | Path | None = None,
    recipe: Mapping[str, Any] | None = None,
    preset: str | None = None,
    progress: Progress = SILENT,
    **flags: Any,
) -> datasets.Dataset:
    """The rows to train on, in the pool's order.

    pool: a file or several, a saved datasets folder, a hub id, or a Dataset. budget: rows (330), a share of the rows
    read (0.11 or "11%"), or tokens ("2M-tokens"). out: the run's folder; by default one under `s2l-runs/`, named by
    its inputs, so that the same call goes on where it was stopped. flags: those of `s2l run`, with `_` for `-`, such as
    proxy="builtin" or set={"clusters": 200}; they override `preset`, that of `--preset`, and both override `recipe`,
    settings by group as in a YAML recipe.
    Raises the errors of `s2l.errors`, each one line.
    """
    if launched():
        raise SettingsError("select() is for one process; to train on several: torchrun … -m s2l run …")
    in_memory = pool if isinstance(pool, datasets.Dataset) else None
    settings = _settings(pool, budget, flags, recipe or {}, preset)
    folder = Path(out) if out is not None else RUNS / _name(settings, in_memory)
    manifest = run(settings, folder, progress, in_memory)
    for line in _loud(manifest):
        warnings.warn(line, stacklevel=2)
    subset = manifest["subsets"][0]
    return _loaded([folder / subset["path"] / name for name in subset["files"]])


def _loud(manifest: Mapping[str, Any]) -> list[str]:
    """What must not go unseen, even by who asked for no progress."""
    weak = [manifest["signal"]["sentence"]] if manifest["signal"]["weak"] else []
    return weak + [notice for notice in manifest["pool"]["notices"] if notice.startswith("preference rows")]


def _settings(
    pool: str | Path | Sequence[str | Path] | datasets.Dataset,
    budget: int | float | str,
    flags: Mapping[str, Any],
    recipe: Mapping[str, Any],
    preset: str | None,
) -> RunSettings:
    given = with_preset(preset, {name.replace("_", "-"): value for name, value in flags.items()})
    for flag in given:
        if flag not in FLAGS:
            raise TypeError(f"select() got an unexpected keyword argument '{flag.replace('-', '_')}'")
    if isinstance(pool, datasets.Dataset):
        paths: tuple[str, ...] = (IN_MEMORY,)
    else:
        paths = (str(pool),) if isinstance(pool, str | Path) else tuple(map(str, pool))
    values = with_flags(recipe, {**given, "budget": (budget,)})
    return validated({**values, "pool": {**values.get("pool", {}), "paths": paths}})


def _name(settings: RunSettings, in_memory: datasets.Dataset | None) -> str:
    digest = ""
    if in_memory is not None:
        digest = read_from(settings.pool, in_memory, SILENT).digest
    elif whereabouts(settings.pool.paths) == "files":
        digest = digest_of_files(settings.pool.paths)
    return sha256(f"{settings.model_dump_json()}\n{digest}".encode()).hexdigest()[:12]


def _loaded(paths: Sequence[Path]) -> datasets.Dataset:
    if paths[0].is_dir():
        return datasets.load_from_disk(str(paths[0]))
    try:
        return datasets.concatenate_datasets([_from_file(path) for path in paths])
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError) as error:
        raise DataError(
            f"{printable(str(paths[0].parent))}: the subset is there, but its rows are of mixed types and make no "
            f"Dataset ({printable(str(error).partition(chr(10))[0])})"
        ) from None


def _from_file(path: Path) -> datasets.Dataset:
    container = container_of(path)
    if container.kind in {"parquet", "arrow"}:
        return datasets.Dataset(pa.Table.from_batches(list(iter_batches(path, container))))
    return datasets.Dataset.from_list(list(_rows(path)))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for record in iter_records(path, container_of(path)):
        assert record.value is not None, "a subset holds sound rows only"
        yield record.value
