"""Pools by URL: the same rows and digest as the file itself; what goes wrong on the way is one line."""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import sys
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from s2l.config import PoolSettings
from s2l.data.pool import digest_of_files, layout_of, read_pool
from s2l.data.remote import RemoteBytes, fetched
from s2l.data.subset import write_subset
from s2l.errors import DataError, MachineError, SettingsError
from toy_server import Server, serving

ROWS = [{"instruction": f"Add {i} and 1.", "output": f"{i + 1}", "source": "ab"[i % 2]} for i in range(300)]
SIGNED = "signed-by-the-server"


def jsonl(rows: list[dict[str, str]] = ROWS) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet() -> bytes:
    pq.write_table(pa.Table.from_pylist(ROWS), sink := io.BytesIO())
    return sink.getvalue()


def arrow() -> bytes:
    table, sink = pa.Table.from_pylist(ROWS), io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


CSV = b"instruction,output,source\r\n" + b"".join(",".join(row.values()).encode() + b"\n" for row in ROWS)
FILES = {
    "pool.jsonl": jsonl(),
    "pool.json": json.dumps(ROWS, indent=1).encode() + b"\n\n",
    "lines.json": jsonl(),
    "pool.csv": CSV,
    "pool.parquet": parquet(),
    "pool.arrow": arrow(),
    "pool.jsonl.gz": gzip.compress(jsonl(ROWS[:99])) + gzip.compress(jsonl(ROWS[99:])),
    "pool.csv.zst": zstandard.compress(CSV),
    "pool.parquet.gz": gzip.compress(parquet()),
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        server.files = {f"/{name}": content for name, content in FILES.items()}
        yield server


@pytest.fixture
def memory() -> Iterator[str]:
    """The URL of a folder in memory."""
    folder = f"memory://{uuid4().hex}"
    yield folder
    filesystem, path = fsspec.url_to_fs(folder)
    filesystem.rm(path, recursive=True)


def put(url: str, content: bytes) -> str:
    with fsspec.open(url, "wb") as file:
        file.write(content)
    return url


@pytest.mark.parametrize("name", FILES)
def test_a_url_gives_the_rows_digest_and_subset_of_the_file(
    name: str, server: Server, memory: str, tmp_path: Path
) -> None:
    local = tmp_path / name
    local.write_bytes(FILES[name])
    expected = read_pool(PoolSettings(paths=(str(local),)))
    assert expected.digest == sha256(FILES[name]).hexdigest()
    kept_N = np.arange(len(expected)) % 7 == 3
    folder = tmp_path / "local"
    folder.mkdir()
    write_subset(expected.rows, kept_N, folder)
    for number, url in enumerate((f"{server.url}/{name}", put(f"{memory}/{name}", FILES[name]), f"file://{local}")):
        settings = PoolSettings(paths=(url,))
        pool = read_pool(settings)
        assert pool.rows.ids.tolist() == expected.rows.ids.tolist()
        assert (pool.digest, pool.container, pool.rows.sources) == (expected.digest, expected.container, ("a", "b"))
        assert digest_of_files((url,)) == expected.digest
        assert pool.rows.place(7) == f"{url}:{expected.rows.line_N[7]}"
        assert layout_of(settings) == layout_of(PoolSettings(paths=(str(local),)))
        place = tmp_path / str(number)
        place.mkdir()
        assert list(write_subset(pool.rows, kept_N, place).files) == [name]
        assert (place / name).read_bytes() == (folder / name).read_bytes()


def test_the_rows_are_asked_for_once_while_they_are_read(server: Server) -> None:
    server.asked.clear()
    read_pool(PoolSettings(paths=(f"{server.url}/pool.jsonl?raw=1",)))
    assert server.asked == ["/pool.jsonl?raw=1"] * 2  # whether it is empty, and its rows


def test_files_and_urls_make_one_pool_named_by_their_files(memory: str, tmp_path: Path) -> None:
    rows = [{name: row[name] for name in ("instruction", "output")} for row in ROWS]
    (tmp_path / "b.jsonl").write_bytes(jsonl(rows[9:]))
    url = put(f"{memory}/a.jsonl", jsonl(rows[:9]))
    paths = (url, str(tmp_path / "b.jsonl"), url)
    pool = read_pool(PoolSettings(paths=paths))
    digests = [sha256(jsonl(part)).digest() for part in (rows[:9], rows[9:], rows[:9])]
    assert pool.digest == digest_of_files(paths) == sha256(b"".join(digests)).hexdigest()
    assert set(read_pool(PoolSettings(paths=paths[:2])).rows.sources) == {"a.jsonl", "b.jsonl"}


@pytest.mark.parametrize("name", FILES)
def test_a_connection_that_is_cut_is_one_line_and_leaves_nothing(
    name: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    server.cut.add(f"/{name}")
    try:
        with pytest.raises(MachineError) as error:
            read_pool(PoolSettings(paths=(f"{server.url}/{name}",)))
    finally:
        server.cut.clear()
    url = f"{server.url}/{name}"
    assert str(error.value).startswith(f"{url}: the connection failed ")
    assert str(error.value).endswith("; nothing is lost: run the same command again")
    assert not list(tmp_path.iterdir())


def test_a_file_that_ends_before_its_size_is_a_connection_that_failed(memory: str) -> None:
    url = put(f"{memory}/pool.jsonl", jsonl())
    with RemoteBytes(url) as source:
        assert source.read(10) == jsonl()[:10]
        source._file.truncate(100)
        source._file = Shrunk(source._file)
        with pytest.raises(MachineError, match=r"after 100 of 120 bytes"):
            source.readall()


class Shrunk:
    """A file that says it holds more than it gives."""

    size = 120

    def __init__(self, file: io.BytesIO) -> None:
        self.read, self.close = file.read, file.close


def test_nothing_of_a_fetched_file_stands_on_the_disk(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with fetched(f"{server.url}/pool.parquet") as file:
        assert not list(tmp_path.iterdir())
        assert file.read() == FILES["pool.parquet"]
    server.files["/empty.parquet"] = b""
    assert fetched(f"{server.url}/empty.parquet").read() == b""
    with pytest.raises(DataError, match="the file is empty"):
        read_pool(PoolSettings(paths=(f"{server.url}/empty.parquet",)))


@pytest.mark.parametrize("name", ["pool.jsonl.gz", "pool.parquet"])
def test_a_damaged_file_is_named_by_its_url(name: str, memory: str) -> None:
    url = put(f"{memory}/{name}", FILES[name][:-40])
    with pytest.raises(DataError, match="the file is damaged") as error:
        read_pool(PoolSettings(paths=(url,)))
    assert str(error.value).startswith(f"{url}: ")


def test_who_is_let_in_is_told_by_netrc(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{server.url}/pool.jsonl"
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login anna password of-the-netrc\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    server.wanted = "anna:of-the-netrc"
    try:
        with pytest.raises(MachineError) as error:
            read_pool(PoolSettings(paths=(url,)))
        assert str(error.value) == f"{url}: access refused; credentials are taken from the environment (~/.netrc)"
        monkeypatch.setenv("NETRC", str(netrc))
        assert len(read_pool(PoolSettings(paths=(url,)))) == len(ROWS)
    finally:
        server.wanted = None


def test_what_a_server_signs_on_the_way_is_not_told(server: Server) -> None:
    server.moved = {"/moved.jsonl": f"/gone.jsonl?sig={SIGNED}", "/busy.jsonl": f"/failing.jsonl?sig={SIGNED}"}
    server.failing = {"/failing.jsonl"}
    for name, told in (("moved", "no such file there"), ("busy", r"the connection failed \(status 503\)")):
        with pytest.raises(MachineError, match=told) as error:
            read_pool(PoolSettings(paths=(f"{server.url}/{name}.jsonl",)))
        assert SIGNED not in str(error.value)
        assert error.value.__suppress_context__


def test_a_server_or_file_that_is_not_there_is_one_line(memory: str) -> None:
    with serving() as gone:
        url = f"{gone.url}/pool.jsonl"
    with pytest.raises(MachineError, match=r"pool\.jsonl: the connection failed \(ClientConnectorError\)"):
        read_pool(PoolSettings(paths=(url,)))
    with pytest.raises(MachineError) as error:
        read_pool(PoolSettings(paths=(f"{memory}/none.jsonl",)))
    put(f"{memory}/other", b"")
    told = "no such file there, or none that may be seen with these credentials"
    assert str(error.value) == f"{memory}/none.jsonl: {told}"


def test_a_missing_package_and_an_unknown_protocol_say_what_to_do() -> None:
    with pytest.raises(SettingsError) as error:
        read_pool(PoolSettings(paths=("gopher2://bucket/pool.jsonl",)))
    assert str(error.value) == "gopher2://bucket/pool.jsonl: no protocol 'gopher2' is known; s3://, hf://, https://, …"
    if importlib.util.find_spec("gcsfs") is None:
        with pytest.raises(MachineError) as missing:
            read_pool(PoolSettings(paths=("gs://bucket/pool.jsonl",)))
        assert str(missing.value) == (
            "gs://bucket/pool.jsonl: gs:// needs another package: Please install gcsfs to access Google Storage"
        )


def test_the_hub_s_files_are_one_line_without_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_planted_secret_token")
    with pytest.raises(MachineError) as error:
        read_pool(PoolSettings(paths=("hf://datasets/org/name/pool.parquet",)))
    assert str(error.value).startswith("hf://datasets/org/name/pool.parquet: ")
    assert "hf_planted" not in str(error.value)


def test_s3_without_its_package_says_which_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(MachineError) as missing:
        read_pool(PoolSettings(paths=("s3://other/pool.jsonl",)))
    assert str(missing.value).startswith("s3://other/pool.jsonl: s3:// needs s3fs: pip install 's3fs>=")


@pytest.mark.parametrize("name", ["pool.jsonl", "pool.parquet"])
def test_s3_gives_the_rows_of_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    local = tmp_path / name
    local.write_bytes(FILES[name])
    with serving() as server:
        server.files = {f"/bucket/{name}": FILES[name]}
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAPLANTED")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret")
        far = read_pool(PoolSettings(paths=(f"s3://bucket/{name}",)))
    near = read_pool(PoolSettings(paths=(str(local),)))
    assert far.digest == near.digest and np.array_equal(far.rows.ids, near.rows.ids)


def test_s3_without_a_server_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as gone:
        endpoint = gone.url
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAPLANTED")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(MachineError, match=r"s3://bucket/pool\.jsonl: ") as error:
        read_pool(PoolSettings(paths=("s3://bucket/pool.jsonl",)))
    assert "planted" not in str(error.value).lower()
