"""The bytes of a file at a URL, by fsspec: streamed, or fetched whole. What goes wrong is one line without a secret."""

from __future__ import annotations

import io
import logging
import mmap
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from s2l.data.url import ENVIRONMENT, protocol_of
from s2l.errors import MachineError, S2LError, SettingsError, printable, shown
from s2l.extras import to_install
from s2l.files import full_disk_is_one_line

CHUNK = 1 << 20
CONNECT_SECONDS, SILENT_SECONDS = 30, 120
REFUSED_STATUS = (401, 403, 407)
REFUSED = ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError")
CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile; FSSPEC_S3_ANON=true for a public bucket",
    "hf": "HF_TOKEN, or hf auth login",
    "http": "~/.netrc",
    "https": "~/.netrc",
}
EXTRAS = dict.fromkeys(("s3", "s3a"), f"s3fs: {to_install('s3')}")


@runtime_checkable
class Digest(Protocol):
    """What hashlib makes."""

    def update(self, data: bytes, /) -> None:
        """Take the next bytes."""

    def digest(self) -> bytes:
        """Of the bytes so far."""

    def hexdigest(self) -> str:
        """The same in hexadecimal."""


class RemoteBytes(io.RawIOBase):
    """A remote file from its first byte to its last; MachineError where it cannot be read to its end."""

    def __init__(self, url: str, digest: Digest | None = None) -> None:
        super().__init__()
        self._url, self._digest, self._read = url, digest, 0
        self._file: Any = None
        with one_line(url):
            self._file = _opened(url)

    def readable(self) -> bool:
        """It can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """The next bytes; 0 at the end."""
        with one_line(self._url):
            data: bytes = self._file.read(len(buffer)) if len(buffer) else b""
        size = getattr(self._file, "size", None)
        if not data and len(buffer) and isinstance(size, int) and self._read != size:
            raise _broke(self._url, f"after {self._read:,} of {size:,} bytes")
        if self._digest is not None:
            self._digest.update(data)
        self._read += len(data)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Let go of the connection."""
        if self._file is not None and not self.closed:
            with one_line(self._url):
                self._file.close()
        super().close()


def fetched(url: str, digest: Digest | None = None) -> pa.BufferReader:
    """The whole file, as one that can be read from any place.

    It lies in a temporary file without a name, so that nothing is left of it, even where the process is killed.
    """
    with (
        full_disk_is_one_line(Path(tempfile.gettempdir())),
        RemoteBytes(url, digest) as source,
        tempfile.TemporaryFile() as copy,
    ):
        shutil.copyfileobj(source, copy, CHUNK)
        copy.flush()
        if copy.tell() == 0:
            return pa.BufferReader(b"")
        return pa.BufferReader(mmap.mmap(copy.fileno(), 0, access=mmap.ACCESS_READ))


@contextmanager
def one_line(url: str) -> Iterator[None]:
    """Whatever a file system or its library raises becomes one line.

    The words of libraries, and what they log, are not repeated: it may hold an address that a server signed, or a key.
    """
    muted = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    except S2LError:
        raise
    except Exception as error:
        raise _explained(url, error) from None
    finally:
        logging.disable(muted)


def _explained(url: str, error: Exception) -> MachineError:
    name, protocol = printable(url), protocol_of(url)
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError | IsADirectoryError):
        return MachineError(f"{name}: no such file there, or none that may be seen with these credentials")
    if isinstance(error, PermissionError) or status in REFUSED_STATUS or type(error).__name__ in REFUSED:
        hint = f" ({CREDENTIALS[protocol]})" if protocol in CREDENTIALS else ""
        return MachineError(f"{name}: access refused; {ENVIRONMENT}{hint}")
    if isinstance(error, ImportError):
        return MachineError(f"{name}: {protocol}:// needs {_package(protocol)}")
    return _broke(url, f"(status {status})" if isinstance(status, int) and status else f"({type(error).__name__})")


def _broke(url: str, how: str) -> MachineError:
    return MachineError(f"{printable(url)}: the connection failed {how}; nothing is lost: run the same command again")


def _package(protocol: str) -> str:
    from fsspec.registry import known_implementations  # type: ignore[import-untyped]

    told = known_implementations.get(protocol, {}).get("err", "a package that is not installed")
    return EXTRAS.get(protocol) or f"another package: {shown(told)[1:-1]}"


def _opened(url: str) -> Any:
    import fsspec  # type: ignore[import-untyped]

    protocol = protocol_of(url)
    try:
        fsspec.get_filesystem_class(protocol)
    except ValueError:
        raise SettingsError(
            f"{printable(url)}: no protocol {shown(protocol)} is known; s3://, hf://, https://, …"
        ) from None
    address = protocol + url[len(protocol) :]
    if protocol not in {"http", "https"}:
        # An instance of its own: one that is kept remembers sizes of files that have changed since.
        filesystem, path = fsspec.url_to_fs(address, skip_instance_cache=True)
        return filesystem.open(path, "rb")
    import aiohttp

    # No limit for all of a file, which may take hours; a proxy and ~/.netrc are the environment's.
    patience = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS)
    filesystem, path = fsspec.url_to_fs(
        address, skip_instance_cache=True, client_kwargs={"timeout": patience, "trust_env": True}
    )
    # One request for all of the file; a size is given so that none is asked for first, which hides why it failed.
    return filesystem.open(path, "rb", block_size=0, size=1, headers={"Accept-Encoding": "identity"})
