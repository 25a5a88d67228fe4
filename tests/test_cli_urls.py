"""Pools by URL on the command line: the run of the file, repeated by its command, with no secret in any file."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from s2l.config import PoolSettings
from s2l.data.pool import read_pool
from s2l.errors import SettingsError
from s2l.library import select as choose
from toy_runs import (
    DATA,
    FLAGS,
    FOLDER,
    MACHINE,
    SETTINGS,
    SMALL,
    kept_ids,
    lines,
    manifest,
    run_of,
    s2l,
    toy_rows,
)
from toy_server import Server, serving

PLANTED = {
    "AWS_ACCESS_KEY_ID": "planted-access-key",
    "AWS_SECRET_ACCESS_KEY": "planted-secret-key",
    "AWS_SESSION_TOKEN": "planted-session-token",
    "HF_TOKEN": "planted-hub-token",
}
SECRETS = (*PLANTED.values(), "planted-password", "planted-signature")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The toy pool on a server that wants a password, and moves who has it to a signed address."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login anna password planted-password\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    with serving() as server:
        server.wanted = "anna:planted-password"
        server.moved = {"/pool.jsonl": "/there.jsonl?X-Amz-Signature=planted-signature"}
        server.files = {"/there.jsonl": lines(toy_rows())}
        yield server


def without_secrets(*texts: str | Path) -> None:
    """Fails where one of the texts, or a file under one of the folders, holds what was planted."""
    for text in texts:
        files = [path for path in text.rglob("*") if path.is_file()] if isinstance(text, Path) else []
        for content in [path.read_bytes() for path in files] or [str(text).encode()]:
            assert not [secret for secret in SECRETS if secret.encode() in content]


def test_a_run_by_url_is_the_run_of_the_file_and_holds_no_secret(server: Server, tmp_path: Path) -> None:
    url, run = f"{server.url}/pool.jsonl", tmp_path / "run"
    outcome = run_of(url, run)
    assert outcome.code == 0, outcome.err
    assert any("signature" in asked for asked in server.asked)
    made = manifest(run)
    assert shlex.split(made["command"])[:3] == ["s2l", "run", url]
    assert made["settings"]["pool"]["paths"] == [url]
    pool = read_pool(PoolSettings(paths=(url,)))
    assert made["pool"]["digest"] == pool.digest
    subset = run / made["subsets"][0]["path"]
    assert (subset / "pool.jsonl").read_bytes().splitlines() == [
        line
        for row, line in enumerate(lines(toy_rows()).splitlines())
        if pool.rows.ids[row].decode() in kept_ids(subset)
    ]
    local = tmp_path / "pool.jsonl"
    local.write_bytes(lines(toy_rows()))
    assert run_of(local, tmp_path / "local").code == 0
    assert manifest(tmp_path / "local")["selection_sha256"] == made["selection_sha256"]
    again = s2l(*shlex.split(made["command"])[1:-1], tmp_path / "again")
    assert manifest(tmp_path / "again")["selection_sha256"] == made["selection_sha256"]
    drawn = s2l("select", run, "--budget", "5")
    assert drawn.code == 0, drawn.err
    explained = s2l("explain", run, f"{url}:3")
    assert explained.code == 0, explained.err
    without_secrets(run, outcome.out, outcome.err, again.err, drawn.out, drawn.err, explained.out)


def test_a_pool_that_changed_or_went_is_refused(server: Server, tmp_path: Path) -> None:
    url, run = f"{server.url}/pool.jsonl", tmp_path / "run"
    assert run_of(url, run).code == 0
    server.files["/there.jsonl"] += lines(toy_rows()[:1])
    resumed = run_of(url, run)
    assert (resumed.code, "the pool has changed since" in resumed.error) == (FOLDER, True)
    drawn = s2l("select", run, "--budget", "5")
    assert (drawn.code, drawn.error) == (
        DATA,
        f"error: {url}: the pool has changed since the run read it; make a new run",
    )
    server.cut.add("/there.jsonl")
    broken = s2l("select", run, "--budget", "5")
    assert (broken.code, "the connection failed" in broken.error) == (MACHINE, True)
    server.files.clear()
    gone = run_of(url, run)
    assert (gone.code, "no such file there" in gone.error) == (MACHINE, True)
    without_secrets(run, *(outcome.err for outcome in (resumed, drawn, broken, gone)))


def test_other_verbs_read_urls(server: Server, tmp_path: Path) -> None:
    url = f"{server.url}/pool.jsonl"
    peeked = s2l("peek", url, "--json")
    assert json.loads(peeked.out)["pool"] == [url]
    planned = s2l("plan", url, "--budget", "5", *FLAGS, "--json")
    assert planned.code == 0, planned.err
    words = ("--vocabulary", "300", "--layers", "1", "--width", "32", "--max-length", "32", "--epochs", "0.2")
    tuned = s2l("train", "--file", url, "--model", "builtin", *words, "--out", tmp_path / "tuned")
    assert tuned.code == 0, tuned.err
    judged = s2l("evaluate", tmp_path / "tuned", "--heldout", url, "--out", tmp_path / "judged")
    assert judged.code == 0, judged.err
    assert s2l("evaluate", tmp_path / "tuned", "--heldout", url, "--out", tmp_path / "judged").code == 0
    server.files["/there.jsonl"] += lines(toy_rows()[:1])
    other = s2l("evaluate", tmp_path / "tuned", "--heldout", url, "--out", tmp_path / "judged")
    assert other.code == FOLDER
    texts = (text for outcome in (peeked, planned, tuned, judged, other) for text in (outcome.out, outcome.err))
    without_secrets(tmp_path / "tuned", tmp_path / "judged", *texts)


def test_from_python_a_url_gives_the_subset(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    url, how = f"{server.url}/pool.jsonl", {"proxy": "builtin", "max_length": 64, **SMALL}
    chosen = choose(url, 5, **how)
    again = choose(url, 5, **how)
    assert (len(chosen), chosen.to_list()) == (5, again.to_list())
    (run,) = (tmp_path / "s2l-runs").iterdir()
    with pytest.raises(SettingsError, match="from Python: a str, no Path"):
        choose(Path(url), 5, **how)
    without_secrets(run)


@pytest.mark.parametrize(
    "words",
    [
        ("run", "URL", "--budget", "5", "--out", "OUT"),
        ("plan", "URL"),
        ("peek", "URL"),
        ("train", "--file", "URL", "--model", "builtin", "--out", "OUT"),
        ("evaluate", "MODEL", "--heldout", "URL", "--out", "OUT"),
        ("evaluate", "MODEL", "--heldout", "a.jsonl,URL", "--out", "OUT"),
        ("evaluate", "MODEL", "--heldout", "a.jsonl", "--columns", "prompt=p", "--summaries", "URL"),
        ("evaluate", "MODEL", "--tasks", "svamp", "--data", "svamp=URL"),
        ("experiment", "RECIPE", "--pool", "URL", "--out", "OUT"),
        ("experiment", "URL", "--out", "OUT"),
    ],
)
@pytest.mark.parametrize(
    "secret", ["http://anna:planted-password@HOST/pool.jsonl", "http://HOST/a.jsonl?sig=planted-signature"]
)
def test_a_secret_in_a_url_is_refused_at_the_door(
    words: tuple[str, ...], secret: str, server: Server, tmp_path: Path
) -> None:
    places = {
        "URL": secret.replace("HOST", urlsplit(server.url).netloc),
        "OUT": str(tmp_path / "out"),
        "MODEL": str(tmp_path),
        "RECIPE": str(Path(__file__).parents[1] / "recipes" / "miniature.yaml"),
    }
    filled = [places.get(word, word.replace("URL", places["URL"])) for word in words]
    outcome = s2l(*filled)
    assert (outcome.code, outcome.out) == (SETTINGS, "")
    assert "would be written into the run" in outcome.error
    without_secrets(outcome.err)
    assert not (tmp_path / "out").exists()
    assert not server.asked
