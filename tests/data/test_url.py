"""What a URL of a pool may hold: an address, and no secret."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from s2l.config import PoolSettings
from s2l.data.containers import has_known_suffix
from s2l.data.url import check, is_url, name_of, without_secrets
from s2l.errors import SettingsError
from s2l.flags import validated

SECRET = "hunter2hunter2"
WITH_SECRET = (
    f"https://user:{SECRET}@host/pool.jsonl",
    f"https://{SECRET}@host/pool.jsonl",
    f"HTTPS://user:{SECRET}@host/pool.jsonl",
    f" https://user:{SECRET}@host/pool.jsonl",
    f"https:/user:{SECRET}@host/pool.jsonl",
    f"https:///user:{SECRET}@host/pool.jsonl",
    f"https://[::1:{SECRET}/pool.jsonl",
    f"s3://key:{SECRET}@bucket/pool.jsonl",
    f"s3://{SECRET}@bucket/pool.jsonl",
    f"s3://{SECRET}:@bucket/pool.jsonl",
    f"sftp://user:{SECRET}@host/pool.jsonl",
    f"https://host/pool.jsonl?X-Amz-Signature={SECRET}&X-Amz-Expires=60",
    f"https://host/pool.jsonl?sv=2024&sig={SECRET}",
    f"https://host/pool.jsonl?token={SECRET}",
    f"https://host/pool.jsonl?{SECRET}",
    f"https://host/pool.jsonl?raw=1;token={SECRET}",
    f"https://host/pool.jsonl?raw=1&%74oken={SECRET}",
    f"https://host/pool.jsonl?raw=https://u:{SECRET}@h",
    f"https://host/pool.jsonl#access_token={SECRET}",
    f"simplecache::https://user:{SECRET}@host/pool.jsonl",
    f"zip://pool.jsonl::https://host/a.zip?sig={SECRET}",
)
ADDRESSES = (
    "https://host/pool.jsonl",
    "https://host:8000/a%20b/pool.jsonl.gz?download=true&raw=",
    "https://[::1]:80/pool.jsonl",
    "s3://bucket/a@b/c=d/pool.parquet?versionId=3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY",
    "hf://datasets/org/name@main/pool.csv",
    "abfs://container@account.dfs.core.windows.net/pool.jsonl",
    "sftp://user@host/pool.jsonl",
    "memory://pool.jsonl",
    "file:///folder/pool.jsonl",
)


@pytest.mark.parametrize("url", WITH_SECRET)
def test_a_url_with_more_than_an_address_is_refused_and_not_shown(url: str) -> None:
    for refuse in (check, without_secrets, lambda path: without_secrets([path])):
        assert is_url(url)
        with pytest.raises(SettingsError) as error:
            refuse(url)
        assert SECRET not in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("url", WITH_SECRET[:3])
def test_settings_are_refused_without_the_secret_however_the_paths_are_written(url: str) -> None:
    for paths in (url, [url], ["a.jsonl", url], (url,)):
        with pytest.raises(ValidationError) as raw:
            PoolSettings.model_validate({"paths": paths})
        assert SECRET not in str(raw.value)
        with pytest.raises(SettingsError, match="before the `@`") as error:
            validated({"pool": {"paths": paths}, "select": {"budgets": ["11%"]}})
        assert SECRET not in str(error.value)


@pytest.mark.parametrize("url", ADDRESSES)
def test_an_address_is_taken_as_it_is(url: str) -> None:
    assert is_url(url)
    assert PoolSettings(paths=(url,)).paths == (url,)
    assert has_known_suffix(url)


def test_a_url_of_a_signed_query_says_what_to_do() -> None:
    with pytest.raises(SettingsError) as error:
        check("https://host/pool.jsonl?X-Amz-Signature=1")
    assert str(error.value) == (
        "https://host/pool.jsonl: what stands behind the `?` may be a secret, and would be written into the run; "
        "without one are alt, dl, download, export, format, inline, raw, ref, revision, versionId; credentials are "
        "taken from the environment: name and password from ~/.netrc; a signed URL: fetch the file, or name it s3://…"
    )


@pytest.mark.parametrize("path", ["pool.jsonl", "org/name", "C:/pool.jsonl", "/a:b/pool.jsonl", "a:b.jsonl", "./s3:/a"])
def test_paths_and_hub_ids_are_no_urls(path: str) -> None:
    assert not is_url(path)
    assert name_of(path) == Path(path).name


def test_a_url_is_named_by_its_last_part() -> None:
    assert [name_of(url) for url in ADDRESSES[1::6]] == ["pool.jsonl.gz", "pool.jsonl"]


def test_settings_of_urls_load_no_file_system() -> None:
    code = (
        "import sys; from s2l.config import PoolSettings; PoolSettings(paths=('s3://b/p.jsonl',)); "
        "assert not {'fsspec', 'aiohttp', 'pyarrow'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
