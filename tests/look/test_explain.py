"""What is told of a row is what its files say, by the naive formulas."""

from pathlib import Path

import numpy as np
import pytest

from look_toys import losses, recorded
from s2l.errors import RunFolderError, SettingsError
from s2l.look.explain import explain
from s2l.look.opened import open_run
from s2l.types import STATISTICS
from toy_runs import EMPTY, LONG, REPEAT, files_of, verdicts

PLACE = "pool.jsonl:8"


def test_losses_are_those_of_the_row_of_its_cluster_and_of_all(toy_run: Path) -> None:
    found = explain(toy_run, PLACE)
    chosen = {row["id"]: row for row in verdicts(toy_run / "subsets/s2l-11pct")}
    mine, every = chosen[found["row"]["id"]], losses(toy_run)
    alike = [every[id_] for id_, row in chosen.items() if row["cluster"] == mine["cluster"]]
    assert found["losses"]["row"] == pytest.approx(every[mine["id"]])
    assert found["losses"]["cluster"] == pytest.approx(np.mean(alike, axis=0))
    assert found["losses"]["pool"] == pytest.approx(np.mean(list(every.values()), axis=0))
    below = [loss[-1] < every[mine["id"]][-1] for loss in every.values()]
    assert found["losses"]["below"] == pytest.approx(np.mean(below))
    assert found["cluster"]["rows"] == len(alike)
    assert found["cluster"]["distance"] == mine["distance"]
    assert found["steps"] == [4, 8, 11, 15]


def test_the_seven_statistics_are_means_over_response_tokens(toy_run: Path) -> None:
    found = explain(toy_run, PLACE)
    ids, tokens, sums = recorded(toy_run)
    at = ids.index(found["row"]["id"])
    assert set(found["statistics"]) == set(STATISTICS)
    for name in STATISTICS:
        assert found["statistics"][name] == pytest.approx(sums[name][at] / tokens[at]), name
    assert found["row"]["response_tokens"] == tokens[at]


def test_the_nearest_rows_are_those_of_a_search_by_hand(toy_run: Path) -> None:
    found = explain(toy_run, PLACE, nearest=7)
    every = losses(toy_run)
    mine = found["row"]["id"]
    away = sorted((float(np.linalg.norm(every[id_] - every[mine])), id_) for id_ in every if id_ != mine)
    assert [(row["distance"], row["id"]) for row in found["nearest"]] == [(pytest.approx(d), i) for d, i in away[:7]]
    kept = {name: {r["id"] for r in verdicts(toy_run / "subsets" / name) if r["kept"]} for name in SUBSETS}
    for row in found["nearest"]:
        assert row["kept_in"] == [name for name in SUBSETS if row["id"] in kept[name]]


SUBSETS = ("s2l-11pct", "random-11pct")


def test_all_rows_but_itself_may_be_asked_for(toy_run: Path) -> None:
    assert len(explain(toy_run, PLACE, nearest=1000)["nearest"]) == 147
    assert explain(toy_run, PLACE, nearest=0)["nearest"] == []


@pytest.mark.parametrize("subset", SUBSETS)
def test_a_rows_place_in_line_decides_whether_it_is_in(toy_run: Path, subset: str) -> None:
    from s2l.look.explain import _verdict

    run = open_run(toy_run)
    chosen = run.verdicts(subset)
    lines: dict[object, list[int]] = {}
    for row in np.flatnonzero(run.place_P >= 0).tolist():
        told = _verdict(run, chosen, row)
        assert told["kept"] == (told["in_line"]["at"] <= told["in_line"]["drawn"])
        assert told["reason"].endswith(f"({told['in_line']['drawn']} of {told['in_line']['of']})")
        lines.setdefault(told["cluster"], []).append(told["in_line"]["at"])
    for places in lines.values():
        assert sorted(places) == list(range(1, len(places) + 1))


def test_its_text_is_what_the_proxy_read_and_marked(toy_run: Path) -> None:
    found = explain(toy_run, "pool.jsonl:1")["row"]
    assert [(piece["text"], piece["counted"]) for piece in found["pieces"]] == [
        ("Q: Add 0 and 0.\nA: ", False),
        ("0 + 0 = 0<|end|>", True),
    ]
    assert sum(piece["tokens"] for piece in found["pieces"]) == found["tokens"]
    assert found["pieces"][1]["tokens"] == found["response_tokens"]


@pytest.mark.parametrize(("row", "reason"), [(EMPTY, "empty response"), (LONG, "no response token within max_length")])
def test_a_row_that_could_not_be_chosen_says_why_and_has_no_figures(toy_run: Path, row: int, reason: str) -> None:
    found = explain(toy_run, f"pool.jsonl:{row + 1}")
    assert found["row"]["excluded"] == reason
    assert {subset["reason"] for subset in found["subsets"]} == {f"excluded: {reason}"}
    for name in ("steps", "losses", "cluster", "statistics", "nearest"):
        assert found[name] is None
    assert found["row"]["pieces"] is None


def test_an_exact_repeat_is_nearest_to_its_first(toy_run: Path) -> None:
    found = explain(toy_run, f"pool.jsonl:{REPEAT + 1}", nearest=1)
    assert found["row"]["occurrence"] == 1
    assert found["nearest"][0]["place"].endswith(f"pool.jsonl:{REPEAT}")
    assert found["nearest"][0]["distance"] == pytest.approx(0, abs=1e-5)


def test_without_examples_no_text_is_told(toy_run: Path) -> None:
    found = explain(toy_run, PLACE, examples=False)
    assert found["row"]["pieces"] is None
    assert {row["text"] for row in found["nearest"]} == {None}
    assert found["losses"] == explain(toy_run, PLACE)["losses"]


def test_another_subset_may_be_shown_and_one_without_clusters_may_not(toy_run: Path) -> None:
    assert explain(toy_run, PLACE, subset="s2l-11pct") == explain(toy_run, PLACE)
    with pytest.raises(SettingsError, match=r"was not drawn from clusters; name another: s2l-11pct$"):
        explain(toy_run, PLACE, subset="random-11pct")
    with pytest.raises(SettingsError, match="no subset 'none' in the run; there are: s2l-11pct, random-11pct"):
        explain(toy_run, PLACE, subset="none")


def test_nothing_is_written_and_no_lock_is_taken(own_run: Path) -> None:
    before = files_of(own_run)
    own_run.chmod(0o555)
    explain(own_run, PLACE)
    own_run.chmod(0o755)
    assert files_of(own_run) == before


def test_a_run_that_is_not_finished_or_damaged_is_one_line(own_run: Path) -> None:
    selection = own_run / "subsets/s2l-11pct/selection.parquet"
    selection.write_bytes(selection.read_bytes()[:-40])
    with pytest.raises(RunFolderError, match="s2l-11pct: damaged, or of another pool; remove it to draw it again"):
        explain(own_run, PLACE)
    (own_run / "manifest.json").unlink()
    with pytest.raises(RunFolderError, match="the run is not finished; s2l status says how far it is"):
        explain(own_run, PLACE)
    with pytest.raises(RunFolderError, match="no run of s2l"):
        explain(own_run / "subsets", PLACE)
