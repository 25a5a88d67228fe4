"""What differs between two subsets is what sets of ids say; chance is a count of its own."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from look_toys import losses
from s2l.errors import RunFolderError, SettingsError
from s2l.look.diff import NOT_READ, diff
from toy_runs import FLAGS, kept_ids, s2l, toy_rows, verdicts, write_jsonl

A, B = "s2l-11pct", "random-11pct"


@pytest.fixture(scope="module")
def other_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the toy pool's rows from 30 on and some of its own, with another seed."""
    folder = tmp_path_factory.mktemp("other")
    more = [{"instruction": f"Say {i}.", "output": f"{i}", "source": "new"} for i in range(30)]
    pool = write_jsonl(folder / "pool.jsonl", [*toy_rows()[30:], *more])
    words = ("--budget", "11%", "--with-random", "--seed", "1", *FLAGS)
    outcome = s2l("run", pool, *words, "--out", folder / "run")
    assert outcome.code == 0, outcome.err
    return folder / "run"


def test_two_subsets_of_one_run_overlap_as_sets_do(toy_run: Path) -> None:
    found = diff(toy_run, B)
    one, other = (kept_ids(toy_run / "subsets" / name) for name in (A, B))
    (pair,) = found["overlaps"]
    assert pair["both"] == len(one & other)
    assert pair["jaccard"] == len(one & other) / len(one | other)
    assert pair["by_chance"] == pytest.approx(17 * 17 / 148)
    assert pair["jaccard_by_chance"] == pytest.approx((17 * 17 / 148) / (34 - 17 * 17 / 148))
    assert (found["only_a"]["rows"], found["only_b"]["rows"]) == (len(one - other), len(other - one))
    assert found["only_a"]["not_drawn"] == len(one - other)
    for row in found["only_a"]["examples"]:
        assert row["id"] in one - other
        assert row["there"] == "not drawn (17 of 148)"
        assert row["reason"].startswith("drawn from cluster ")
        assert row["loss"] == pytest.approx(losses(toy_run)[row["id"]][-1])


def test_what_chance_gives_is_the_mean_of_random_draws(toy_run: Path, other_run: Path) -> None:
    pair = diff(toy_run, str(other_run))["overlaps"][0]
    pools = [
        [r["id"] for r in verdicts(run / "subsets" / A) if r["tokens"] is not None] for run in (toy_run, other_run)
    ]
    rng = np.random.default_rng(0)
    sizes = (pair["rows_a"], pair["rows_b"])
    draws = [
        len(
            set.intersection(
                *(set(rng.choice(pool, size, replace=False)) for pool, size in zip(pools, sizes, strict=True))
            )
        )
        for _ in range(4000)
    ]
    assert pair["in_common"] == len(set(pools[0]) & set(pools[1]))
    assert pair["by_chance"] == pytest.approx(np.mean(draws), abs=4 * np.std(draws) / 4000**0.5)


def test_sources_moved_by_their_shares(toy_run: Path, other_run: Path) -> None:
    found = diff(toy_run, str(other_run))
    rows = [[r for r in verdicts(run / "subsets" / A) if r["kept"]] for run in (toy_run, other_run)]
    counts = [Counter(row["source"] for row in side) for side in rows]
    assert {source["source"] for source in found["sources"]} == {"add", "say", "more", "new"}
    for source in found["sources"]:
        shares = [count[source["source"]] / len(side) for count, side in zip(counts, rows, strict=True)]
        assert (source["share_a"], source["share_b"]) == tuple(shares)
        assert source["moved"] == shares[1] - shares[0]
    moved = [abs(source["moved"]) for source in found["sources"]]
    assert moved == sorted(moved, reverse=True)
    assert {s["source"]: s["pool_a"] for s in found["sources"]}["new"] == 0


def test_two_runs_are_compared_by_all_subsets_of_the_same_name(toy_run: Path, other_run: Path) -> None:
    found = diff(toy_run, str(other_run))
    assert [(pair["a"], pair["b"]) for pair in found["overlaps"]] == [(A, A), (B, B)]
    for pair in found["overlaps"]:
        sets = [kept_ids(run / "subsets" / pair["a"]) for run in (toy_run, other_run)]
        assert pair["both"] == len(set.intersection(*sets))


def test_rows_of_one_alone_are_told_apart_by_why(toy_run: Path, other_run: Path) -> None:
    found = diff(toy_run, str(other_run), rows=50)
    for side, here, there in (("only_a", toy_run, other_run), ("only_b", other_run, toy_run)):
        other = {row["id"]: row for row in verdicts(there / "subsets" / A)}
        lacking = kept_ids(here / "subsets" / A) - kept_ids(there / "subsets" / A)
        told = found[side]
        assert {row["id"] for row in told["examples"]} == lacking
        assert told["not_read"] == sum(id_ not in other for id_ in lacking)
        assert told["not_drawn"] == sum(id_ in other and other[id_]["tokens"] is not None for id_ in lacking)
        assert told["not_read"] + told["not_drawn"] + told["excluded"] == told["rows"]
        for row in told["examples"]:
            assert row["there"] == (other[row["id"]]["reason"] if row["id"] in other else NOT_READ)


def test_the_rows_named_do_not_depend_on_the_order_of_the_pool(toy_run: Path) -> None:
    few, many = diff(toy_run, B, rows=3), diff(toy_run, B, rows=9)
    assert few["only_a"]["examples"] == many["only_a"]["examples"][:3]


def test_settings_that_differ_are_named_by_their_flags(own_run: Path, other_run: Path) -> None:
    assert s2l("select", own_run, "--budget", "20%", "--set", "clusters=5").code == 0
    found = diff(own_run, "s2l-20pct-clusters-5")
    assert found["settings"] == [
        {"what": "--budget", "a": ["11%"], "b": ["20%"]},
        {"what": "--set", "a": {}, "b": {"clusters": 5}},
    ]
    assert found["made"] == []
    found = diff(own_run, str(other_run))
    assert {differing["what"] for differing in found["settings"]} == {"pool.paths", "--seed"}
    assert {differing["what"] for differing in found["made"]} >= {"pool.digest", "plan.seed"}
    json.dumps(found)


def test_a_folder_of_a_subset_is_meant_as_well_as_a_name(toy_run: Path) -> None:
    named = diff(toy_run / "subsets" / B, A)
    assert (named["a"]["subset"], named["b"]["subset"]) == (B, A)
    assert named == diff(toy_run / "subsets" / B, str(toy_run / "subsets" / A))
    turned = diff(toy_run, B)
    assert named["overlaps"][0]["both"] == turned["overlaps"][0]["both"]
    assert (named["a"]["method"], named["b"]["method"], named["a"]["seed"]) == ("random", "s2l", 0)
    assert named["only_a"] == turned["only_b"] and named["only_b"] == turned["only_a"]


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (("", ""), SettingsError, f"twice the same subset, '{A}'; name another: {B}"),
        (("", A), SettingsError, "twice the same subset"),
        (("", "none"), SettingsError, f"'none': neither a run nor a subset; there are: {A}, {B}"),
        (("subsets/none", ""), RunFolderError, f"no subset of the run; there are: {A}, {B}"),
        (("subsets", ""), RunFolderError, "no run of s2l"),
    ],
)
def test_what_is_no_pair_is_one_line(words: tuple[str, str], error: type[Exception], says: str, toy_run: Path) -> None:
    one, other = toy_run / words[0], words[1] or str(toy_run)
    with pytest.raises(error, match=says):
        diff(one, other)


def test_without_examples_no_text_is_told(toy_run: Path) -> None:
    found = diff(toy_run, B, examples=False)
    assert {row["text"] for side in ("only_a", "only_b") for row in found[side]["examples"]} == {None}
