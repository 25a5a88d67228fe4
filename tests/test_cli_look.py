"""explain, clusters, diff, peek and status as they are typed: what they print, and that hostile rows are harmless."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from look_toys import HARM, SECRET, SURROGATE, assert_harmless, hostile_rows
from s2l.cli import look  # noqa: F401 - its verbs
from s2l.look.clusters import clusters
from s2l.look.diff import diff
from s2l.look.explain import explain
from s2l.look.status import status
from s2l.report.clusters import print_clusters
from s2l.report.difference import print_difference
from s2l.report.explanation import print_explanation
from s2l.report.status import print_status
from toy_runs import EMPTY, FLAGS, FOLDER, SETTINGS, files_of, kept_ids, s2l, verdicts, write_jsonl

BROKEN = b'{"instruction": "planted \x1b[31m broken\n'
NASTY = "\x1b]0;owned\x07\x1b[31m\u202e\u2028\r\n[bold]"


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of rows that mean harm, one of them malformed; its pool is beside it, of a hostile name."""
    folder = tmp_path_factory.mktemp("hostile")
    pool = folder / "po\x1b[2J\u202eol.jsonl"
    pool.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in hostile_rows()) + BROKEN)
    words = ("--budget", "50%", "--with-random", "--bad-rows", "exclude", *FLAGS)
    outcome = s2l("run", pool, *words, "--out", folder / "run")
    assert outcome.code == 0, outcome.err
    return folder / "run"


def pool_of(run: Path) -> Path:
    return next(run.parent.glob("*.jsonl"))


def commands(run: Path) -> dict[str, tuple[str | Path, ...]]:
    """Every verb on the hostile run, and explain on each of its rows."""
    rows = verdicts(run / "subsets/s2l-50pct")
    last = [("explain", run, row["id"]) for row in rows[38:]]
    peeks = [("peek", pool_of(run), *FLAGS[:4], "--vocabulary", "300", "--row", row["id"]) for row in rows[40::6]]
    fixed = [
        ("clusters", run),
        ("diff", run, "random-50pct", "--rows", "99"),
        ("diff", run, run / "subsets/random-50pct"),
        ("peek", pool_of(run), *FLAGS[:4], "--vocabulary", "300", "--rows", "99"),
        ("status", run),
    ]
    return {f"{number} {words[0]}": words for number, words in enumerate([*fixed, *last, *peeks])}


def test_rows_that_mean_harm_are_harmless_and_cut_in_every_verb(hostile_run: Path) -> None:
    assert not [row["reason"] for row in verdicts(hostile_run / "subsets/s2l-50pct")[:40] if not row["tokens"]]
    told = ""
    for name, words in commands(hostile_run).items():
        for more in ((), ("--json",)):
            outcome = s2l(*words, *more)
            assert outcome.code == 0, (name, outcome.err)
            most = 200_000 if more or "99" in words else 40_000
            assert_harmless(outcome.out + outcome.err, 10**6 if more or words[0] == "status" else 120, most)
            if more:
                json.loads(outcome.out)
            else:
                told += outcome.out
    for text in (
        "[bold]not bold[/bold] [/] [link=https://a.b]c[/link] :skull:",
        "\\x1b[31mred",
        "\\u202eevil",
        "\\u200b",
    ):
        assert text in told, text
    for name in (*HARM, SURROGATE):
        assert any(row["source"] == name for row in verdicts(hostile_run / "subsets/s2l-50pct")), name


def test_without_examples_no_text_of_a_row_is_told_by_any_verb(hostile_run: Path) -> None:
    asked = [words for words in commands(hostile_run).values() if words[0] != "status"]
    for words in [*asked[:4], *asked[4::3]]:
        for more in ((), ("--json",)):
            outcome = s2l(*words, *more, "--no-examples")
            assert outcome.code == 0, (words, outcome.err)
            assert SECRET not in outcome.out + outcome.err, words
    for words in asked[:4]:
        assert SECRET in s2l(*words).out, "it is there otherwise"


def test_a_run_without_examples_tells_no_text_of_a_row_anywhere(tmp_path: Path) -> None:
    rows = [{"instruction": f"Name number {i}, my {SECRET}.", "output": f"{i}, {SECRET}"} for i in range(40)]
    pool, out = write_jsonl(tmp_path / "pool.jsonl", rows), tmp_path / "run"
    with pool.open("a") as file:
        file.write(json.dumps({"instruction": "a", "output": {SECRET: [SECRET]}}) + "\n")
    words = ("run", pool, "--budget", "9", *FLAGS, "--out", out)
    assert SECRET in s2l(*words).err
    stopped = s2l(*words, "--no-examples")
    assert (stopped.code, SECRET in stopped.out + stopped.err) == (3, False)
    told = s2l(*words, "--bad-rows", "exclude", "--no-examples")
    assert told.code == 0, told.err
    assert SECRET not in told.out + told.err
    says = ("report.html", "manifest.json", "run.json", "signal.json", "rows.parquet")
    says += ("subsets/s2l-9/README.md", "subsets/s2l-9/manifest.json", "subsets/s2l-9/selection.parquet")
    for name in says:
        assert SECRET.encode() not in (out / name).read_bytes(), name
    assert SECRET not in str([row["reason"] for row in verdicts(out / "subsets/s2l-9")])
    assert SECRET in (out / "subsets/s2l-9/pool.jsonl").read_text(), "the rows themselves are whole"
    assert s2l("report", out).code == 0
    assert SECRET.encode() not in (out / "report.html").read_bytes(), "as the run was told"
    assert s2l("report", out, "--examples").code == 0
    assert SECRET in (out / "report.html").read_text()
    refused = s2l(*words, "--bad-rows", "exclude")
    assert refused.code == FOLDER and "--examples was 'False', now 'True'" in refused.error


def test_harm_in_the_arguments_is_one_harmless_line(toy_run: Path, toy_pool: Path, tmp_path: Path) -> None:
    for words in (
        ("explain", toy_run, NASTY),
        ("explain", toy_run, f"{NASTY}:3"),
        ("explain", toy_run, "pool.jsonl:1", "--subset", NASTY),
        ("explain", tmp_path / NASTY.replace("/", ""), "a"),
        ("clusters", toy_run, "--sort", NASTY),
        ("clusters", toy_run, "--subset", NASTY),
        ("diff", toy_run, NASTY),
        ("diff", tmp_path / NASTY, toy_run),
        ("status", tmp_path / NASTY),
        ("peek", toy_pool, "--row", NASTY),
        ("peek", tmp_path / NASTY),
    ):
        outcome = s2l(*words)
        assert outcome.code in {SETTINGS, 3, FOLDER}, outcome
        assert_harmless(outcome.error, 10**6)


@pytest.mark.parametrize("width", [72, 80, 120])
def test_nothing_is_wider_than_the_terminal_and_no_number_is_cut(width: int, toy_run: Path, hostile_run: Path) -> None:
    def printed(show: Callable[[Any, Console], None], found: dict[str, Any]) -> str:
        console = Console(file=io.StringIO(), width=width)
        show(found, console)
        text: str = console.file.getvalue()  # type: ignore[attr-defined]
        assert_harmless(text, width)
        return text

    for run, row in ((toy_run, "pool.jsonl:8"), (hostile_run, verdicts(hostile_run / "subsets/s2l-50pct")[43]["id"])):
        subsets = [path.name for path in (run / "subsets").iterdir()]
        found = explain(run, row)
        text = printed(print_explanation, found)
        for name, values in found["statistics"].items():
            assert name in text
            assert all(f"{value:.3f}" in text for value in values)
        for subset in found["subsets"]:
            assert str(subset["in_line"]["at"]) in text
        table = clusters(run)
        text = printed(print_clusters, table)
        for cluster in table["clusters"][:3]:
            assert f"{cluster['first']:.2f}" in text
        found = diff(run, next(name for name in subsets if name.startswith("random")))
        text = printed(print_difference, found)
        assert f"{found['overlaps'][0]['by_chance']:,.1f}" in text
        printed(print_status, status(run))


def test_explain_tells_a_row_to_a_person(toy_run: Path) -> None:
    out = s2l("explain", toy_run, "pool.jsonl:8").out
    for told in (
        "pool.jsonl:8",
        "say",
        "s2l-11pct",
        "random-11pct",
        "in line by its score",
        "● this row",
        "its cluster",
    ):
        assert told in out, told
    assert " ▌ word 7, word 7<|end|>" in out
    assert "   Q: Say the word number 7 twice." in out
    excluded = s2l("explain", toy_run, f"pool.jsonl:{EMPTY + 1}").out
    assert "empty response (s2l peek POOL --row " in excluded


def test_clusters_says_what_is_left_out_and_is_sorted(toy_run: Path) -> None:
    lines = s2l("clusters", toy_run, "--sort", "size", "--reverse", "--limit", "2").out.splitlines()
    found = json.loads(s2l("clusters", toy_run, "--sort", "size", "--reverse", "--json").out)
    assert [line.split()[0] for line in lines if line[:7].strip().isdigit()] == [
        str(cluster["number"]) for cluster in found["clusters"][:2]
    ]
    assert lines[-1].strip() == f"… and {found['of'] - 2} more clusters (--limit {found['of']} shows all)"


def test_diff_tells_the_overlap_and_the_settings(toy_run: Path) -> None:
    out = s2l("diff", toy_run, "random-11pct").out
    both = len(kept_ids(toy_run / "subsets/s2l-11pct") & kept_ids(toy_run / "subsets/random-11pct"))
    row = next(line.split() for line in out.splitlines() if line.startswith(" s2l-11pct "))
    assert row[:3] == ["s2l-11pct", "random-11pct", str(both)]
    settings = next(line for line in out.splitlines() if "--method" in line)
    assert settings.split() == ["--method", "s2l", "random"]
    assert "what else differs: pool, proxy, machine, versions: none" in out
    assert "Random numbers are keyed" not in out, "two methods"
    assert "in A alone:" in out and "in B alone:" in out


def test_diff_warns_where_both_had_the_same_random_numbers(own_run: Path) -> None:
    assert s2l("select", own_run, "--budget", "20%").code == 0
    assert "Both are drawn by s2l with seed 0." in s2l("diff", own_run, "s2l-20pct").out
    assert s2l("select", own_run, "--budget", "20%", "--seed", "1").code == 0
    assert "Both are drawn" not in s2l("diff", own_run, "s2l-20pct-seed-1").out


def test_peek_marks_what_counts_without_colour(toy_pool: Path) -> None:
    out = s2l("peek", toy_pool, "--max-length", "64", "--vocabulary", "300", "--row", "pool.jsonl:1").out
    lines = [line.rstrip() for line in out.splitlines()]
    at = lines.index("   Q: Add 0 and 0.")
    assert lines[at : at + 3] == ["   Q: Add 0 and 0.", "   A:", " ▌ 0 + 0 = 0<|end|>"]
    assert "template   short" in out
    cut = s2l("peek", toy_pool, "--max-length", "18", "--vocabulary", "300", "--row", "pool.jsonl:1").out
    assert " ✂ " in cut
    assert "are cut off" in cut


def test_status_tells_each_stage_and_how_to_go_on(own_run: Path) -> None:
    assert "finished; no process is at work in it" in s2l("status", own_run).out
    (own_run / "manifest.json").unlink()
    (own_run / "signal.json").unlink()
    before = files_of(own_run)
    out = s2l("status", own_run).out
    assert "stopped; no process is at work in it" in out
    assert "4 of 4 checkpoints" in out
    assert "to go on, in " in out
    assert f"  s2l run {json.loads(s2l('status', own_run, '--json').out)['command'].split()[2]}" in out
    assert files_of(own_run) == before
    (own_run / "rows.parquet").write_bytes(b"")
    assert "damaged: rows.parquet" in s2l("status", own_run).out


def test_help_is_quick_to_import() -> None:
    import subprocess
    import sys

    code = "import sys, s2l.cli.look; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
