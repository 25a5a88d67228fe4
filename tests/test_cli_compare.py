"""`s2l compare`: what it answers, what it keeps, and what it leaves as it was."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from toy_runs import FLAGS, FOLDER, SETTINGS, Outcome, files_of, kept_ids, s2l, toy_rows, write_jsonl

NAMED = ("--methods", "s2l,random,el2n")
NEED_MORE = {
    "confidence-curriculum",
    "diverse-evol",
    "facility-location",
    "grand",
    "ifd",
    "k-center",
    "rds",
    "semdedup",
}


def compared(run: Path, *words: str | Path) -> dict[str, Any]:
    outcome = s2l("compare", run, "--budget", "11%", *words, "--json")
    assert outcome.code == 0, outcome.err
    found: dict[str, Any] = json.loads(outcome.out)
    assert found == json.loads((run / "comparison.json").read_text(encoding="utf-8"))
    return found


def names(found: dict[str, Any]) -> list[str]:
    return [entry["method"] for entry in found["methods"]]


def without_seconds(found: dict[str, Any]) -> dict[str, Any]:
    for entry in found["methods"]:
        entry["cost"].pop("seconds")
    return found


def test_the_table_names_every_method_and_what_is_left_out(own_run: Path) -> None:
    outcome = s2l("compare", own_run, "--budget", "11%")
    assert outcome.code == 0, outcome.err
    for told in (
        "11% of 150 rows read, 148 of which can be chosen",
        "aum",
        "xmas",
        "by chance",
        "purity",
        "add",
        "say",
    ):
        assert told in outcome.out, told
    assert "without coverage and purity by embeddings" in outcome.out
    for name in NEED_MORE:
        assert f"\n  {name}: " in outcome.out, name
    assert max(map(len, outcome.out.splitlines())) <= 120
    assert not list(own_run.glob("representations/*")), "nothing is recorded that nobody asked for"
    assert "rounds" not in outcome.err, "nor said to be"


def test_the_figures_are_of_the_rows_that_the_run_drew(own_run: Path, toy_pool: Path) -> None:
    found = compared(own_run, *NAMED)
    assert names(found) == ["s2l", "random", "el2n"]
    kept, twin = (kept_ids(own_run / "subsets" / name) for name in ("s2l-11pct", "random-11pct"))
    assert found["jaccard"][0][1] == len(kept & twin) / len(kept | twin)
    subset = json.loads((own_run / "subsets/s2l-11pct/manifest.json").read_text(encoding="utf-8"))
    entry = found["methods"][0]
    assert (entry["rows"], entry["tokens"]) == (subset["rows"], subset["tokens"])
    assert entry["sources"] == subset["rows_by_source"]
    assert found["pool"]["repeats"] == 1
    assert found["pool"]["rows"] == 148
    assert entry["cost"]["passes"] == 3 * 3 + 4
    assert entry["cost"]["seconds"]["train"] > 0


def test_it_changes_nothing_but_its_own_file_and_needs_no_pool(own_run: Path) -> None:
    before = files_of(own_run)
    first = compared(own_run, *NAMED)
    claimed = own_run / "run.json"
    claimed.write_text(claimed.read_text().replace("pool.jsonl", "gone.jsonl"))
    before.pop("run.json")
    again = compared(own_run, *NAMED)
    assert without_seconds(again) == without_seconds(first)
    after = {name: digest for name, digest in files_of(own_run).items() if name not in {"run.json", "comparison.json"}}
    assert after == before


def test_embeddings_are_recorded_when_asked_for_and_then_their_methods_join(own_run: Path) -> None:
    found = compared(own_run, *NAMED, "--embeddings", "--seeds", "1")
    assert found["methods"][0]["coverage"]["embeddings"]["mean"] > 0
    assert found["purity"]["embeddings"]["purity"] > 0
    assert (own_run / "representations/embeddings-response").is_dir()

    found = compared(own_run, "--seeds", "0")
    assert {"facility-location", "k-center", "semdedup", "s2l", "ccs"} <= set(names(found))
    assert {entry["method"] for entry in found["left_out"]} == {
        "confidence-curriculum",
        "diverse-evol",
        "grand",
        "ifd",
        "rds",
    }
    assert found["notes"] == []
    assert found["methods"][0]["stability"]["draws"] is None
    assert found["methods"][0]["coverage"]["embeddings"] is not None


def test_a_named_method_records_what_it_needs(own_run: Path) -> None:
    found = compared(own_run, "--methods", "ifd,k-center", "--seeds", "1")
    assert names(found) == ["ifd", "k-center"]
    assert found["methods"][0]["stability"]["draws"]["mean"] == 1
    assert found["methods"][1]["coverage"]["embeddings"] is not None, "k-center recorded them"
    assert found["methods"][1]["cost"]["seconds"]["more"] is None
    assert {"ifd", "k-center", "semdedup"} <= set(names(compared(own_run, "--seeds", "0")))


def test_rounds_join_once_they_were_trained(own_run: Path) -> None:
    rounds = ("confidence-curriculum", "diverse-evol")
    found = compared(own_run, "--methods", ",".join(rounds), "--seeds", "1")
    curriculum, diverse = (entry["stability"]["draws"] for entry in found["methods"])
    assert curriculum["mean"] == 1
    assert diverse is None, "another seed begins with other rows, and nobody trained on those"
    assert set(rounds) <= set(names(compared(own_run, "--seeds", "0")))


def test_settings_are_given_by_method(own_run: Path) -> None:
    words = ("--set", "s2l.clusters=5", "--set", "s2l.within=central", "--set", "el2n.at=late")
    found = compared(own_run, *NAMED, *words)
    assert found["methods"][0]["settings"]["clusters"] == 5
    assert found["methods"][0]["settings"]["within"] == "central"
    assert found["methods"][2]["settings"] == {"at": "late"}
    drawn = s2l("select", own_run, "--budget", "11%", "--set", "clusters=5", "--set", "within=central", "--json")
    assert drawn.code == 0, drawn.err
    subset = json.loads(drawn.out)["subsets"][0]
    assert found["methods"][0]["tokens"] == subset["tokens"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "say how much, once: --budget 11%"),
        (("--budget", "5%,11%"), "say how much, once: --budget 11%"),
        (("--budget", "eleven"), "budget 'eleven' cannot be read"),
        (("--budget", "149"), "asks for 149 rows"),
        (("--budget", "11%", "--methods", "s2l,s3l"), "no selection method 's3l'; there are: "),
        (("--budget", "11%", "--set", "clusters=5"), "--set 'clusters': name the method too: s2l.clusters=200"),
        (("--budget", "11%", "--set", "s2l.clusters"), "write name=value"),
        (("--budget", "11%", "--set", "s2l.clusters=none"), "method s2l: clusters='none'"),
        (
            ("--budget", "11%", "--methods", "random", "--set", "s2l.clusters=5"),
            "'s2l' has settings but is not compared",
        ),
        (("--budget", "11%", "--methods", "el2n", "--set", "el2n.at=start"), "el2n: at=start: nothing was recorded"),
        (("--budget", "11%", "--methods", "rds"), "rds: method rds needs examples"),
        (("--budget", "11%", "--seeds", "-1"), "seeds"),
    ],
)
def test_mistakes_are_one_line(toy_run: Path, words: tuple[str, ...], told: str) -> None:
    outcome = s2l("compare", toy_run, *words)
    assert outcome.code == SETTINGS, outcome
    assert told in outcome.error
    assert not (toy_run / "comparison.json").exists()


def test_what_is_no_finished_run_is_refused(own_run: Path, tmp_path: Path) -> None:
    assert s2l("compare", tmp_path / "nothing", "--budget", "11%").code == FOLDER
    (own_run / "manifest.json").unlink()
    assert "the run is not finished" in s2l("compare", own_run, "--budget", "11%").error


def test_a_run_without_checkpoints_is_still_compared_by_its_losses(own_run: Path) -> None:
    for folder in own_run.glob("proxy/step-*"):
        shutil.rmtree(folder)
    found = compared(own_run)
    assert "s2l" in names(found)
    assert {entry["method"] for entry in found["left_out"]} == NEED_MORE
    outcome = s2l("compare", own_run, "--budget", "11%", "--methods", "k-center")
    assert outcome.code == FOLDER
    assert "k-center: " in outcome.error


def hostile_run(folder: Path) -> tuple[Path, Outcome]:
    rows = [{**row, "source": ("\x1b[2J\n", "[red]", "x" * 200)[i % 3]} for i, row in enumerate(toy_rows()[:40])]
    pool = write_jsonl(folder / "pool.jsonl", rows)
    return folder / "run", s2l("run", pool, "--budget", "5", *FLAGS, "--epochs", "1", "--out", folder / "run")


def test_hostile_sources_do_not_reach_the_terminal(tmp_path: Path) -> None:
    run, made = hostile_run(tmp_path)
    assert made.code == 0, made.err
    outcome = s2l("compare", run, "--budget", "5", *NAMED)
    assert outcome.code == 0, outcome.err
    assert "\x1b[2J" not in outcome.out + outcome.err
    assert r"\x1b[2J\n" in outcome.out
    assert "[red]" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 120
    assert set(compared(run, *NAMED)["pool"]["sources"]) == {"\x1b[2J\n", "[red]", "x" * 200}
