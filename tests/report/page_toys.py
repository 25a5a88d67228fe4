"""Runs for the page: a toy's, a hostile one's, and reading what a page holds."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import s2l.cli.report  # noqa: F401 - its verb
from s2l.report.page.seen import Seen, seen
from s2l.run_folder import hold
from toy_runs import s2l as command
from toy_runs import toy_rows

PLANTED = "<script>window.planted=1</script>"
RIGHT_TO_LEFT, ESCAPE, LINE = "\u202e", "\x1b[31m", "\u2028"
HOSTILE = [
    PLANTED,
    "</script><script>window.planted=2</script>",
    '"><img src=x onerror="window.planted=3"><svg onload=window.planted=4>',
    "<!--<script>",
    f"{RIGHT_TO_LEFT}gpj.exe {ESCAPE}red {LINE} \u0000 \ufeff",
    "{{ 7 * 7 }} {% raw %} javascript:window.planted=5",
    "<a href='javascript:window.planted=6'>x</a>&lt;b&gt;",
]


def hostile_rows() -> list[dict[str, Any]]:
    """The toy pool with text in it that would harm a page or a terminal, and a megabyte in one line."""
    rows = toy_rows()
    for i, row in enumerate(rows):
        nasty = HOSTILE[i % len(HOSTILE)]
        row["instruction"] += f" {nasty}"
        row["output"] = f"{nasty} {row['output']}" if row["output"] else ""
        row["source"] = f"{row['source']}{HOSTILE[i % 3]}"
    rows[1]["output"] = "long " * 200_000
    return rows


def report(run: Path, *words: str | Path) -> str:
    """`s2l report RUN WORDS`; the page."""
    outcome = command("report", run, *words)
    assert outcome.code == 0, outcome.err
    return (run / "report.html").read_text(encoding="utf-8")


def data_of(html: str) -> dict[str, Any]:
    """What the page's script draws."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def words_of(html: str) -> str:
    """The page's own text, without its style, script and data."""
    text = re.sub(r"<[^>]+>", " ", re.sub(r"<(script|style)\b.*?</\1>", "", html, flags=re.DOTALL))
    return " ".join(unescape(text).split())


def look(run: Path, subset: str | None = None) -> Seen:
    """The run as its page sees it."""
    with hold(run, must_exist=True) as folder:
        return seen(folder, subset)
