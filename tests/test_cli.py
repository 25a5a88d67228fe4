"""The command line: what it answers, how it reads a pool, and how it draws again."""

import json
import shlex
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from typer.main import get_command

from s2l.cli.app import app
from toy_runs import (
    BROKEN,
    EMPTY,
    FLAGS,
    GOOD,
    LONG,
    files_of,
    kept_ids,
    lines,
    manifest,
    s2l,
    toy_rows,
    verdicts,
    write_jsonl,
)


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys; sys.argv = ['s2l', 'run', '--help']\nfrom s2l.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'transformers', 'datasets', 'pyarrow', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--budget" in done.stdout


def test_without_a_verb_it_shows_the_help() -> None:
    outcome = s2l()
    assert outcome.code == 0
    assert "select" in outcome.out


def test_help_names_choices_and_a_verbs_own_default() -> None:
    options = {
        (verb, option.name): option for verb in ("train", "peek") for option in get_command(app).commands[verb].params
    }
    assert options["train", "precision"].metavar == "float32|bfloat16"
    assert options["peek", "proxy"].help.endswith("(default: builtin)")


def test_every_verb_has_help() -> None:
    for verb in ("run", "demo", "select", "methods"):
        outcome = s2l(verb, "--help")
        assert outcome.code == 0
        assert "--json" in outcome.out


def test_methods_are_listed_with_their_settings() -> None:
    assert {"random", "s2l"} <= set(json.loads(s2l("methods", "--json").out))
    assert "--set clusters=" in s2l("methods").out


def test_the_summary_tells_rows_exclusions_sources_and_the_digest(toy_pool: Path, toy_run: Path) -> None:
    outcome = s2l("run", toy_pool, "--budget", "11%", "--with-random", *FLAGS, "--out", toy_run)
    assert outcome.code == 0
    assert manifest(toy_run)["selection_sha256"] in outcome.out
    assert "150 (1 exact repeats of another row)" in outcome.out
    assert f"empty response, the first at {toy_pool.name}" in outcome.out.replace(f"{toy_pool.parent}/", "")
    for word in ("add", "say", "more", "random 11%", "s2l 11%", "signal", "seconds"):
        assert word in outcome.out


def test_json_is_the_manifest_and_alone_on_stdout(toy_pool: Path, toy_run: Path) -> None:
    words = ("--budget", "11%", "--with-random", *FLAGS, "--out", toy_run, "--json")
    found = json.loads(s2l("run", toy_pool, *words).out)
    assert found == manifest(toy_run)
    assert found["pool"]["read"] == 150
    assert [entry["rows"] for entry in found["pool"]["excluded"]] == [1, 1]
    assert {"versions", "seconds", "machine", "settings", "proxy", "signal", "subsets"} <= set(found)
    assert found["peak_memory_bytes"] > 0


def test_the_manifest_of_a_run_is_a_recipe_that_repeats_it(toy_run: Path, tmp_path: Path) -> None:
    outcome = s2l("run", toy_run / "manifest.json", "--out", tmp_path / "again")
    assert outcome.code == 0, outcome.err
    found, was = manifest(tmp_path / "again"), manifest(toy_run)
    assert found["selection_sha256"] == was["selection_sha256"]
    assert found["subsets"] == was["subsets"]


def test_a_recipe_runs_and_flags_override_it(tmp_path: Path) -> None:
    pool = write_jsonl(tmp_path / "pool.jsonl", toy_rows()[:40])
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"pool: {{paths: [{pool}]}}\ntokens: {{max_length: 64}}\nseed: 3\n"
        "proxy: {model: builtin, width: 64, layers: 1, vocabulary: 300, checkpoints: 2, epochs: 1, threads: 1}\n"
        f"select: {{method: random, budgets: [5, 10%]}}\nout: {tmp_path / 'from-recipe'}\n"
    )
    assert s2l("run", recipe).code == 0
    found = manifest(tmp_path / "from-recipe")
    assert [(subset["name"], subset["rows"]) for subset in found["subsets"]] == [("random-5", 5), ("random-10pct", 4)]
    assert found["settings"]["seed"] == 3

    outcome = s2l("run", recipe, "--budget", "7", "--seed", "4", "--checkpoints", "1", "--out", tmp_path / "flags")
    assert outcome.code == 0
    found = manifest(tmp_path / "flags")
    assert found["subsets"][0]["rows"] == 7
    assert (found["settings"]["seed"], found["settings"]["proxy"]["checkpoints"]) == (4, 1)
    assert found["settings"]["tokens"]["max_length"] == 64
    assert "WEAK SIGNAL" in outcome.err


def test_the_command_in_the_manifest_repeats_the_run(toy_run: Path, tmp_path: Path) -> None:
    words = shlex.split(manifest(toy_run)["command"])
    assert words[0] == "s2l"
    assert words[-2:] == ["--out", str(toy_run)]
    outcome = s2l(*words[1:], "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["selection_sha256"] == manifest(toy_run)["selection_sha256"]


def test_sources_conditions_repeats_and_bad_rows_over_several_files(tmp_path: Path) -> None:
    first = toy_rows()[:50]
    for i, row in enumerate(first):
        row |= {"kind": row.pop("source"), "use": "yes" if i % 5 else "no"}
    second = [{**row, "kind": "other", "use": "yes"} for row in GOOD + GOOD[:2]]
    a, b = write_jsonl(tmp_path / "a.jsonl", first), tmp_path / "b.jsonl"
    b.write_bytes(lines(second[:5]) + BROKEN + lines(second[5:]))
    words = (
        "--bad-rows",
        "exclude",
        "--repeats",
        "drop",
        "--source-column",
        "kind",
        "--where",
        "use=yes",
        "--epochs",
        "1",
    )
    outcome = s2l("run", a, b, "--budget", "20", *FLAGS, *words, "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    found = manifest(tmp_path / "run")
    assert found["pool"]["read"] == 40 + 11
    assert set(found["pool"]["rows_by_source"]) >= {"add", "say", "more", "other"}
    reasons = {entry["reason"]: entry["rows"] for entry in found["pool"]["excluded"]}
    assert reasons["exact repeat"] == 2
    assert sum(n for reason, n in reasons.items() if reason.startswith("malformed")) == 1
    subset = tmp_path / "run" / found["subsets"][0]["path"]
    for path in (a, b):
        kept = (subset / path.name).read_bytes().splitlines()
        assert set(kept) <= set(path.read_bytes().splitlines())
        assert all(json.loads(line)["use"] == "yes" for line in kept)
    assert "10 rows skipped by --where" in outcome.err


def test_rows_to_keep_are_in_the_subset_and_count_in_the_budget(own_run: Path, tmp_path: Path) -> None:
    left_out = [row["id"] for row in verdicts(own_run / "subsets/s2l-11pct") if row["reason"].startswith("not")][:4]
    keep = tmp_path / "keep.txt"
    keep.write_text("\n".join(left_out) + "\n")
    outcome = s2l("select", own_run, "--budget", "11%", "--keep", keep, "--json")
    assert outcome.code == 0, outcome.err
    subset = json.loads(outcome.out)["subsets"][0]
    assert subset["rows"] == 17
    rows = {row["id"]: row for row in verdicts(own_run / subset["path"])}
    assert {rows[id_]["reason"] for id_ in left_out} == {"kept on request"}
    assert all(rows[id_]["kept"] for id_ in left_out)


def drawn(run: Path, *words: str | Path) -> list[dict[str, Any]]:
    outcome = s2l("select", run, *words, "--json")
    assert outcome.code == 0, outcome.err
    subsets: list[dict[str, Any]] = json.loads(outcome.out)["subsets"]
    return subsets


def test_drawing_what_the_run_drew_finds_it_there(own_run: Path) -> None:
    before = files_of(own_run / "subsets")
    assert drawn(own_run, "--budget", "11%")[0]["selection_sha256"] == manifest(own_run)["selection_sha256"]
    assert files_of(own_run / "subsets") == before


def test_drawing_twice_is_the_same(own_run: Path) -> None:
    words = ("--budget", "20", "--set", "clusters=7", "--set", "within=central")
    first = drawn(own_run, *words)
    files = files_of(own_run / "subsets")
    assert drawn(own_run, *words) == first
    assert files_of(own_run / "subsets") == files
    shutil.rmtree(own_run / first[0]["path"])
    assert drawn(own_run, *words) == first
    assert files_of(own_run / "subsets") == files


def test_budgets_are_nested(own_run: Path) -> None:
    subsets = drawn(own_run, "--budget", "5%,11%,25%,100,600-tokens,1k-tokens")
    by_name = {subset["name"]: subset for subset in subsets}
    assert [by_name[f"s2l-{size}"]["rows"] for size in ("5pct", "11pct", "25pct", "100")] == [8, 17, 38, 100]
    assert by_name["s2l-600-tokens"]["tokens"] <= 600
    ids = [kept_ids(own_run / subset["path"]) for subset in sorted(subsets, key=lambda subset: subset["rows"])]
    assert all(smaller <= larger for smaller, larger in pairwise(ids))


def test_each_way_to_draw_has_a_folder_of_its_own(own_run: Path) -> None:
    ways: list[tuple[str, ...]] = [
        ("--set", "clusters=5"),
        ("--set", "representation=differences", "--set", "clusters=5"),
        ("--set", "start=random"),
        ("--balance", "source"),
        ("--seed", "1"),
        ("--method", "random", "--seed", "1"),
        ("--method", "random", "--balance", "source"),
    ]
    names = [drawn(own_run, "--budget", "12", *way)[0]["name"] for way in ways]
    assert names == [
        "s2l-12-clusters-5",
        "s2l-12-clusters-5-representation-differences",
        "s2l-12-start-random",
        "s2l-12-balance-source",
        "s2l-12-seed-1",
        "random-12-seed-1",
        "random-12-balance-source",
    ]
    digests = {
        json.loads((own_run / "subsets" / name / "manifest.json").read_text())["selection_sha256"] for name in names
    }
    assert len(digests) == len(names)


def test_balanced_over_sources_each_gets_its_share(own_run: Path) -> None:
    (subset,) = drawn(own_run, "--budget", "30", "--balance", "source")
    assert subset["rows_by_source"] == {"add": 10, "more": 10, "say": 10}


def test_the_random_twin_is_another_draw_of_the_same_size(toy_run: Path) -> None:
    s2l_subset, twin = manifest(toy_run)["subsets"]
    assert (s2l_subset["method"], twin["method"]) == ("s2l", "random")
    assert s2l_subset["rows"] == twin["rows"] == 17
    assert kept_ids(toy_run / s2l_subset["path"]) != kept_ids(toy_run / twin["path"])


def test_every_row_has_a_verdict_and_a_reason(toy_run: Path, toy_pool: Path) -> None:
    rows = verdicts(toy_run / "subsets/s2l-11pct")
    assert [row["line"] for row in rows] == list(range(1, 151))
    assert sum(row["kept"] for row in rows) == 17
    assert all(row["reason"] for row in rows)
    assert rows[EMPTY]["reason"] == "excluded: empty response"
    assert rows[LONG]["reason"] == "excluded: no response token within max_length"
    chosen = [line for line, row in zip(toy_pool.read_bytes().splitlines(True), rows, strict=True) if row["kept"]]
    assert (toy_run / "subsets/s2l-11pct/pool.jsonl").read_bytes() == b"".join(chosen)
