"""Reading a pool: the rows of files, of a saved folder, of the hub or of memory, as a `Pool` with stable ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import file_digest, sha256
from itertools import islice
from typing import TYPE_CHECKING, Literal

from s2l.config import Format, PoolSettings
from s2l.data.assemble import HEAD_ROWS, assemble, columns_of
from s2l.data.containers import Container, container_of, iter_records, one_line_errors, open_bytes
from s2l.data.formats import Layout, recognise
from s2l.data.hub import dataset_records, load_source_dataset, whereabouts
from s2l.data.record import Placed
from s2l.data.remote import Digest
from s2l.data.url import is_url
from s2l.data.where import Filter
from s2l.errors import DataError, printable
from s2l.progress import SILENT, Progress
from s2l.types import Pool

if TYPE_CHECKING:
    import datasets

MEMORY = "memory"


def read_pool(settings: PoolSettings, progress: Progress = SILENT) -> Pool:
    """All rows that the settings name.

    Raises DataError, one line with file and row, for what cannot be read; MachineError for a hub or URL that cannot be.
    """
    found = whereabouts(settings.paths)
    if found == "hub":
        progress.note(f"loading {settings.paths[0]} from the Hugging Face hub")
    if found != "files":
        return _pool_of_dataset(load_source_dataset(settings), settings, settings.paths[0], found, progress)
    containers = [container_of(path) for path in settings.paths]
    kinds = sorted({container.kind for container in containers})
    if len(kinds) > 1:
        raise DataError(f"files of different kinds: {', '.join(kinds)}; convert them to one kind, or read one kind")
    passed = [sha256() if is_url(path) else None for path in settings.paths]  # no URL is read twice
    records = _records_of_files(settings.paths, containers, passed)
    pool = assemble(records, settings.paths, settings, kinds[0], None, progress)
    return replace(pool, digest=_digest(settings.paths, passed))


def pool_from_dataset(
    dataset: datasets.Dataset,
    *,
    format: Format = "auto",
    columns: Mapping[str, str] | None = None,
    source_column: str | None = None,
    where: Mapping[str, str] | None = None,
    repeats: Literal["keep", "drop"] = "keep",
    bad_rows: Literal["stop", "exclude"] = "stop",
    progress: Progress = SILENT,
) -> Pool:
    """The rows of a Dataset in memory; the arguments are those of `PoolSettings`."""
    settings = PoolSettings(
        paths=(MEMORY,),
        format=format,
        columns=dict(columns or {}),
        source_column=source_column,
        where=dict(where or {}),
        repeats=repeats,
        bad_rows=bad_rows,
    )
    return _pool_of_dataset(dataset, settings, MEMORY, MEMORY, progress)


def layout_of(settings: PoolSettings) -> tuple[Layout, dict[str, str]]:
    """The layout of the pool's rows, and part → column of the parts that its first rows hold."""
    if whereabouts(settings.paths) != "files":
        columns = load_source_dataset(settings).column_names
    else:
        records = _records_of_files(settings.paths, [container_of(path) for path in settings.paths])
        columns = columns_of(list(islice(Filter(settings.where).admit(records), HEAD_ROWS)))
    layout = recognise(columns, settings, printable(settings.paths[0]))
    return layout, layout.present(columns)


def _pool_of_dataset(
    dataset: datasets.Dataset, settings: PoolSettings, name: str, container: str, progress: Progress
) -> Pool:
    records = ((0, record) for record in dataset_records(dataset, printable(name)))
    return assemble(records, (name,), settings, container, None, progress)


def _records_of_files(
    paths: tuple[str, ...], containers: list[Container], digests: Sequence[Digest | None] = ()
) -> Placed:
    for index, (path, container) in enumerate(zip(paths, containers, strict=True)):
        record = None
        for record in iter_records(path, container, digests[index] if digests else None):
            yield index, record
        if record is None:
            raise DataError(f"{printable(path)}: the file holds no rows")


def digest_of_files(paths: tuple[str, ...]) -> str:
    """Of one file what `sha256sum` prints, of several the sha256 of their digests in order."""
    return _digest(paths, [None] * len(paths))


def _digest(paths: tuple[str, ...], known: Sequence[Digest | None]) -> str:
    digests: list[Digest] = []
    for path, digest in zip(paths, known, strict=True):
        if digest is not None:
            digests.append(digest)
            continue
        with one_line_errors(path), open_bytes(path, None) as stream:
            digests.append(file_digest(stream, "sha256"))
    return digests[0].hexdigest() if len(digests) == 1 else sha256(b"".join(d.digest() for d in digests)).hexdigest()
