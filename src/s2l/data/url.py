"""URLs of pools: what is one, and what may not stand in it, since it is written into runs and shown: a secret."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from s2l.errors import SettingsError, printable

BEGINNING = re.compile(r"\s*[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
"""Also of a URL that lost a slash or has a blank before it: it must not be shown as the path of a file."""
IPV6 = re.compile(r"\[[0-9a-f:.]*\]", re.IGNORECASE)
WITHOUT_SECRET = frozenset({"alt", "dl", "download", "export", "format", "inline", "raw", "ref", "revision"}) | {
    "versionId"
}
"""Parameters that may stand behind `?`. A list of those that hold secrets could never be whole."""
PLAIN = re.compile(r"[\w.-]{0,64}", re.ASCII)
WITH_USER = frozenset({"abfs", "abfss", "ftp", "hdfs", "sftp", "smb", "ssh", "wasb", "wasbs"})
"""Protocols in which the name before `@` is part of an address."""
ENVIRONMENT = "credentials are taken from the environment"


def is_url(path: str | Path) -> bool:
    """Whether the pool is named by a URL."""
    return "://" in str(path) or BEGINNING.match(str(path)) is not None


def name_of(path: str | Path) -> str:
    """The last part of a path or URL, without what stands behind `?`."""
    return Path("".join(urlsplit(str(path))[1:3]) if is_url(path) else path).name


def protocol_of(url: str) -> str:
    """`s3` of `S3://bucket/pool.jsonl`."""
    return url.strip().partition(":")[0].lower()


def without_secrets(value: Any) -> Any:
    """A setting that holds paths, as it is; SettingsError, which does not show it, where one is a URL with a secret."""
    for path in [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else []:
        if isinstance(path, str) and is_url(path):
            check(path)
    return value


def check(url: str) -> None:
    """Raise SettingsError for a URL that holds more than an address; of such a one host and path alone are shown."""
    protocol = printable(protocol_of(url))
    try:
        parts = urlsplit(url)
    except ValueError:
        raise SettingsError(f"{protocol}: not a URL that can be read; wanted {protocol}://…") from None
    if not url[len(protocol) :].startswith("://"):
        raise SettingsError(f"{protocol}: a URL begins with {protocol}:// (from Python: a str, no Path)")
    if "::" in IPV6.sub("", url):
        raise SettingsError(f"{protocol}: a chain of URLs (`::`); name one file by one URL")
    user, at, host = parts.netloc.rpartition("@")
    name = printable(f"{protocol}://{host}{parts.path}")
    if protocol in {"http", "https"} and not host:
        raise SettingsError(f"{protocol}: a URL without a host; wanted {protocol}://host/file.jsonl")
    if at and (":" in user or protocol not in WITH_USER):
        raise SettingsError(f"{name}: what stands before the `@` would be written into the run; {_way_out(protocol)}")
    if "#" in url:
        raise SettingsError(f"{name}: leave out what stands behind the `#`; it is no part of a file's address")
    parameters = parse_qsl(parts.query, keep_blank_values=True)
    if not all(key in WITHOUT_SECRET and PLAIN.fullmatch(value) for key, value in parameters):
        raise SettingsError(
            f"{name}: what stands behind the `?` may be a secret, and would be written into the run; without one are "
            f"{', '.join(sorted(WITHOUT_SECRET))}; {_way_out(protocol)}"
        )


def _way_out(protocol: str) -> str:
    if protocol in {"http", "https"}:
        return f"{ENVIRONMENT}: name and password from ~/.netrc; a signed URL: fetch the file, or name it s3://…"
    return ENVIRONMENT
