"""The page as a file: the same bytes, safe with any text, and without row text where that is asked for."""

import json
import re
from pathlib import Path

import pytest
from page_toys import ESCAPE, HOSTILE, LINE, PLANTED, RIGHT_TO_LEFT, data_of, hostile_rows, report, words_of

from s2l.report.page.draw import as_data, digest
from toy_runs import FOLDER, SETTINGS, manifest, run_of, s2l, toy_rows, write_jsonl


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over rows that would harm a page or a terminal."""
    folder = tmp_path_factory.mktemp("hostile")
    pool = write_jsonl(folder / "po<b>ol & 'x'.jsonl", hostile_rows())
    outcome = run_of(pool, folder / "run", "--source-column", "source", budget="20")
    assert outcome.code == 0, outcome.err
    return folder / "run"


def test_the_page_is_the_same_bytes_for_the_same_run(own_run: Path) -> None:
    assert report(own_run) == report(own_run)


def test_the_top_says_what_was_chosen_from_what(own_run: Path) -> None:
    words = words_of(report(own_run))
    made = manifest(own_run)
    assert "17 of 150 rows, chosen by s2l" in words
    for told in (made["selection_sha256"], made["signal"]["sentence"], made["command"], "1 × empty response"):
        assert told in words


def test_hostile_text_never_becomes_markup(hostile_run: Path) -> None:
    html = report(hostile_run)
    for text in (*filter("<".__contains__, HOSTILE), RIGHT_TO_LEFT, ESCAPE, LINE, "\x00"):
        assert text not in html
    assert re.findall(r"<script\b[^>]*>", html) == ['<script type="application/json" id="data">', "<script>"]
    tags = re.findall(r"<[a-zA-Z][^>]*>", re.sub(r"<(script|style)\b.*?</\1>", "", html, flags=re.DOTALL))
    assert not [tag for tag in tags if re.search(r"<(img|iframe|object|form|link)\b|\s(on\w+|src|style)=", tag)]
    rows = data_of(html)["examples"]["rows"]
    text = "".join(piece if isinstance(piece, str) else piece[0] for row in rows for piece in row["pieces"])
    assert PLANTED in text
    assert r"\u202egpj.exe \x1b[31mred" in text
    assert len(html) < 2_000_000


def test_the_policy_allows_this_style_and_script_alone(own_run: Path) -> None:
    html = report(own_run)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy
    style, script = (re.search(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL) for tag in ("style", "script"))
    assert style
    assert script
    said = policy[1].replace("&#39;", "'")
    assert said.startswith("default-src 'none'; ")
    assert f"script-src '{digest(script[1])}';" in said
    assert f"style-src '{digest(style[1])}';" in said
    assert "unsafe" not in said


def test_data_in_the_page_cannot_end_its_element() -> None:
    value = {"a": "</script><!--<script>\u2028\u2029&amp;", "b": [1.5, None]}
    text = as_data(value)
    assert not re.search("[<>&\u2028\u2029]", text)
    assert json.loads(text) == value
    with pytest.raises(ValueError, match="JSON"):
        as_data(float("nan"))


def test_no_examples_leaves_all_row_text_out(own_run: Path) -> None:
    html = report(own_run, "--no-examples")
    assert data_of(html)["examples"] is None
    for row in toy_rows():
        assert row["instruction"] not in html
        if len(row["output"]) > 6:
            assert row["output"] not in html
    assert "Row text was left out" in html


def test_the_command_names_the_file_or_says_what_is_wrong(own_run: Path, tmp_path: Path) -> None:
    outcome = s2l("report", own_run, "--json")
    assert json.loads(outcome.out) == {"files": [str(own_run / "report.html")]}
    assert s2l("report", own_run, "--subset", "\x1b[31m").code == SETTINGS
    assert "\x1b" not in s2l("report", own_run, "--subset", "\x1b[31m").error
    assert s2l("report", tmp_path / "nothing").code == FOLDER


def test_a_comparison_and_a_verification_are_shown_where_they_are(own_run: Path) -> None:
    assert 'id="comparison"' not in report(own_run)
    assert s2l("compare", own_run, "--budget", "20", "--methods", "s2l,random,el2n").code == 0
    assert s2l("verify", own_run, "--rows", "40", "--draws", "2", "--checkpoints", "1", "--dimensions", "64").code == 0
    words = words_of(report(own_run))
    assert "Methods side by side" in words
    assert "2 random" in words or "random" in words
    found = json.loads((own_run / "verification.json").read_text())
    assert found["models"][0]["clusters"]["sentence"] in words


def test_a_method_without_clusters_is_shown_by_source(own_run: Path) -> None:
    html = report(own_run, "--subset", "random-11pct")
    assert data_of(html)["curves"]["word"] == "source"
    assert "chosen by random" in html
    assert "so rows are grouped by source" in words_of(html)


@pytest.mark.parametrize("checkpoints", [1, 2])
def test_few_checkpoints_and_no_sources(tmp_path: Path, checkpoints: int) -> None:
    rows = [{name: row[name] for name in ("instruction", "output")} for row in toy_rows()[:60]]
    pool = write_jsonl(tmp_path / "pool.jsonl", rows)
    words = ("--checkpoints", str(checkpoints), "--epochs", "1", "--set", "clusters=1", "--bad-rows", "exclude")
    assert run_of(pool, tmp_path / "run", *words).code == 0
    html = report(tmp_path / "run")
    assert "All rows are one group" in words_of(html)
    assert "All rows are of one source" in words_of(html)
    assert [len(group["mean"]) for group in data_of(html)["curves"]["groups"]] == [checkpoints]
