"""For the whole suite: no network, no cache of the user's, one thread, every shape annotation checked as it runs."""

import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

_home = TemporaryDirectory()
os.environ |= {
    "HF_HOME": _home.name,
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}

import jaxtyping  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)
jaxtyping.install_import_hook("s2l", "shape_checks.check")

from toy_runs import FLAGS, Driver, s2l, toy_rows, write_jsonl  # noqa: E402


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """A block in which no file can grow beyond so many bytes; the errors are those of a full disk."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.fixture(scope="session")
def toy_pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool of 150 short rows."""
    return write_jsonl(tmp_path_factory.mktemp("toy") / "pool.jsonl", toy_rows())


@pytest.fixture(scope="session")
def toy_run(toy_pool: Path) -> Path:
    """A finished run of it at 11 %; to be read only."""
    outcome = s2l("run", toy_pool, "--budget", "11%", "--with-random", *FLAGS, "--out", toy_pool.with_name("run"))
    assert outcome.code == 0, outcome.err
    return toy_pool.with_name("run")


@pytest.fixture
def own_run(toy_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed at will."""
    return Path(shutil.copytree(toy_run, tmp_path / "run"))


@pytest.fixture(scope="session")
def driver() -> Iterator[Driver]:
    """Commands in processes of their own."""
    driver = Driver()
    yield driver
    driver.close()
