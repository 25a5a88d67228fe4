"""Methods side by side: every figure against the rows that `select` draws, and what is left out, and why."""

import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import spearmanr
from selection_toys import record, rows_of

from s2l.config import SelectSettings
from s2l.errors import NumericsError, SettingsError
from s2l.selection.budget import parse_budget
from s2l.selection.compare import Known, comparison
from s2l.selection.entrants import entrants
from s2l.selection.select import select
from toy_losses import decaying

N, READ = 120, 122
LOSSES_NT = decaying(N)
RECORDED = record(LOSSES_NT)
EXCLUDED = {b"0" * 24: "empty response", b"f" * 24: "no response token within max_length"}
EMBEDDED = {"facility-location", "k-center", "semdedup"}
NEED_MORE = EMBEDDED | {"grand", "ifd", "rds", "confidence-curriculum", "diverse-evol"}


class Nothing:
    """No representation is there."""

    def __getattr__(self, name):
        def refuse(*_):
            raise SettingsError(f"{name} is not recorded yet")

        return refuse


def compare(*names, budget="20%", options=None, recorded=RECORDED, there=None, **how):
    known = Known(
        read=READ,
        seed=how.pop("seed", 0),
        truncated_N=np.arange(N) % 5 == 0,
        repeat_N=np.arange(N) % 7 == 0,
        there=there or recorded.more,
        epochs=3.0,
        seconds=how.pop("seconds", {"train the proxy": 30.0, "record trajectories": 12.0}),
    )
    entered = entrants(names or None, options or {})
    return comparison(recorded, known, entered, parse_budget(budget), **how)


def chosen(method, budget="20%", seed=0, recorded=RECORDED, **options):
    """The rows that `select` keeps, by their place in id order."""
    settings = SelectSettings(method=method, budgets=(budget,), options=options)
    (selection,) = select(rows_of(recorded, EXCLUDED, 3), recorded, settings, seed)
    return set(np.flatnonzero(np.isin(recorded.trajectories.ids, selection.kept_ids)).tolist())


def of(found, method):
    return next(entry for entry in found["methods"] if entry["method"] == method)


def without_seconds(found):
    for entry in found["methods"]:
        entry["cost"].pop("seconds")
    return found


def test_what_is_chosen_is_what_select_draws():
    found = compare("s2l", "el2n", "random", "k-center")
    last_N = RECORDED.trajectories.losses_NT[:, -1]
    for name in ("s2l", "el2n", "random", "k-center"):
        rows, entry = sorted(chosen(name)), of(found, name)
        assert entry["rows"] == len(rows) == 24
        assert entry["tokens"] == sum(5 + row % 7 for row in rows)
        assert entry["mean_loss"] == pytest.approx(sum(last_N[row] for row in rows) / 24)
        assert entry["truncated"] == sum(row % 5 == 0 for row in rows)
        assert entry["repeats"] == sum(row % 7 == 0 for row in rows)
        assert entry["sources"] == {s: sum("abc"[row**2 % 3] == s for row in rows) for s in "abc"}
    pool = found["pool"]
    assert (found["read"], pool["rows"], pool["truncated"], pool["tokens"]) == (READ, N, 24, sum(RECORDED.lengths_N))


def test_overlap_is_jaccards_beside_that_of_random_sets():
    names = ("s2l", "random", "length")
    found, rows = compare(*names), [chosen(name) for name in names]
    for (i, one), (j, other) in combinations(enumerate(rows), 2):
        assert found["jaccard"][i][j] == found["jaccard"][j][i] == len(one & other) / len(one | other)
        assert found["jaccard_by_chance"][i][j] == pytest.approx(4.8 / (48 - 4.8))
    assert [found["jaccard"][i][i] for i in range(3)] == [1, 1, 1]


def test_rank_correlation_is_told_of_methods_that_only_rank():
    found = compare("perplexity", "aum", "s2l", "random", "full")["rank_correlation"]
    losses_NT = RECORDED.trajectories.losses_NT
    expected = spearmanr(losses_NT[:, -1], -RECORDED.trajectories.mean("margin").mean(axis=1)).statistic
    assert found[0][1] == found[1][0] == pytest.approx(expected)
    assert all(found[i][j] is None for i in range(5) for j in range(2, 5))


def test_coverage_is_the_distance_to_the_nearest_chosen_row_in_both_spaces():
    entry, losses_NT = of(compare("aum"), "aum"), RECORDED.trajectories.losses_NT
    embedded_ND = RECORDED.more.embeddings("response", -1)
    embedded_ND = embedded_ND / np.linalg.norm(embedded_ND, axis=1, keepdims=True)
    for name, points_ND, close in (("losses", losses_NT, 1e-9), ("embeddings", embedded_ND, 2e-3)):
        far = [min(np.linalg.norm(points_ND[row] - points_ND[kept]) for kept in chosen("aum")) for row in range(N)]
        assert entry["coverage"][name]["mean"] == pytest.approx(np.mean(far), abs=close)
        assert entry["coverage"][name]["within_95"] == pytest.approx(np.percentile(far, 95), abs=close)


def test_the_whole_pool_covers_itself_and_is_chosen_by_all():
    found = compare("s2l", "random", "k-center", budget="120")
    for entry in found["methods"]:
        assert entry["coverage"]["losses"] == {"mean": 0, "within_95": 0}
        assert entry["stability"]["draws"] == {"mean": 1, "least": 1, "most": 1}
    assert found["jaccard"] == found["jaccard_by_chance"] == [[1, 1, 1]] * 3


def test_stability_moves_one_seed_at_a_time():
    steady = of(compare("s2l", options={"s2l": {"clusters": 6}}, seeds=2), "s2l")["stability"]
    kept = chosen("s2l", clusters=6)
    by_clusters = [len(kept & chosen("s2l", clusters=6, cluster_seed=seed)) / 24 for seed in (1, 2)]
    by_draws = [len(kept & chosen("s2l", seed=seed, clusters=6, cluster_seed=0)) / 24 for seed in (1, 2)]
    assert steady["clusters"] == {"mean": sum(by_clusters) / 2, "least": min(by_clusters), "most": max(by_clusters)}
    assert steady["draws"] == {"mean": sum(by_draws) / 2, "least": min(by_draws), "most": max(by_draws)}
    assert steady["by_chance"] == 0.2


def test_what_hangs_on_no_seed_is_the_same_with_every_other():
    found = compare("el2n", "length", "random")
    assert of(found, "el2n")["stability"]["draws"] == of(found, "length")["stability"]["draws"]
    assert of(found, "el2n")["stability"]["draws"] == {"mean": 1, "least": 1, "most": 1}
    assert of(found, "random")["stability"]["draws"]["mean"] < 0.5
    assert of(found, "el2n")["stability"]["clusters"] is None


def test_purity_of_losses_that_follow_the_sources_is_high_and_of_shuffled_sources_low():
    source_N = np.arange(N) % 3
    losses_NT = np.abs(np.array([0.5, 1.5, 2.5])[source_N][:, None] + np.random.default_rng(0).normal(0, 0.05, (N, 4)))
    purity = compare("random", recorded=replace(record(losses_NT), source_N=source_N))["purity"]
    assert purity["largest_source"] == pytest.approx(1 / 3)
    assert purity["losses"]["purity"] == 1
    assert purity["losses"]["clusters"] == 100
    assert purity["embeddings"]["purity"] > 0.9


def test_one_source_has_no_purity():
    assert compare("random", recorded=record(LOSSES_NT, sources=("only",)))["purity"] is None


def test_cost_is_in_forward_passes_and_in_the_runs_own_seconds():
    found = compare("s2l", "el2n", "random", "k-center")
    cost = {entry["method"]: entry["cost"] for entry in found["methods"]}
    assert [cost[name]["passes"] for name in ("s2l", "el2n", "random", "k-center")] == [9 + 6, 9 / 6 + 1, 0, 9 + 1]
    assert {**cost["s2l"]["seconds"], "choose": 0} == {"train": 30, "record": 12, "more": 0, "choose": 0}
    assert {**cost["el2n"]["seconds"], "choose": 0} == {"train": 5, "record": 2, "more": 0, "choose": 0}
    assert {**cost["random"]["seconds"], "choose": 0} == {"train": 0, "record": 0, "more": 0, "choose": 0}
    assert cost["k-center"]["seconds"]["more"] is None
    unknown = of(compare("s2l", "random", seconds={}), "s2l")["cost"]["seconds"]
    assert (unknown["train"], unknown["record"]) == (None, None)
    assert all(0 <= entry["cost"]["seconds"]["choose"] < 60 for entry in found["methods"])


def test_by_default_methods_look_only_at_what_is_recorded():
    found = compare(there=Nothing())
    names = {entry["method"] for entry in found["methods"]}
    left_out = {entry["method"]: entry for entry in found["left_out"]}
    assert {"s2l", "random", "aum", "ccs", "xmas", "balanced-random"} <= names
    assert set(left_out) == NEED_MORE
    assert "full" not in names
    assert left_out["k-center"] == {"method": "k-center", "passes": 1, "reason": "embeddings is not recorded yet"}
    assert left_out["grand"]["passes"] == 3
    assert found["methods"][0]["coverage"]["embeddings"] is None
    assert found["purity"]["embeddings"] is None
    (note,) = found["notes"]
    assert "--embeddings" in note


def test_what_is_recorded_joins_by_itself():
    found = compare()
    assert {entry["method"] for entry in found["methods"]} >= EMBEDDED
    assert [entry["method"] for entry in found["left_out"]] == ["rds"]
    assert "examples" in found["left_out"][0]["reason"]
    assert found["notes"] == []
    assert all(entry["coverage"]["embeddings"]["mean"] >= 0 for entry in found["methods"])


def test_named_methods_and_asked_embeddings_may_be_recorded():
    assert of(compare("k-center", there=Nothing()), "k-center")["rows"] == 24
    found = compare("random", there=Nothing(), embeddings=True)
    assert found["methods"][0]["coverage"]["embeddings"]["mean"] > 0
    found = compare(there=Nothing(), options={"grand": {"scope": "head"}})
    assert of(found, "grand")["settings"]["scope"] == "head", "a setting names the method too"


def test_where_other_seeds_would_have_to_be_recorded_stability_is_not_known():
    steady = of(compare("k-center", there=Nothing()), "k-center")["stability"]
    assert (steady["clusters"], steady["draws"]) == (None, None)


def test_a_method_that_cannot_choose_is_left_out_or_if_named_an_error():
    single = record(decaying(N, checkpoints=1))
    found = compare(recorded=single)
    assert "forgetting" in {entry["method"] for entry in found["left_out"]}
    with pytest.raises(SettingsError, match=r"^forgetting: forgetting needs 2 checkpoints"):
        compare("random", "forgetting", recorded=single)
    with pytest.raises(SettingsError, match=r"^el2n: at=start"):
        compare("el2n", options={"el2n": {"at": "start"}})


def test_embeddings_that_are_not_finite_stop_only_who_asks_for_them():
    class Broken(Nothing):
        def embeddings(self, pooling, column):
            return np.full((N, 3), np.nan, dtype=np.float32)

    found = compare(there=Broken())
    assert {entry["method"] for entry in found["left_out"]} >= EMBEDDED
    assert "not a finite number" in found["notes"][0]
    broken = replace(RECORDED, more=Broken())
    with pytest.raises(NumericsError, match=r"^k-center: an embedding is not a finite number"):
        compare("k-center", recorded=broken)
    with pytest.raises(NumericsError, match=r"^an embedding is not a finite number"):
        compare("random", recorded=broken, embeddings=True)


def test_budgets_are_what_select_takes():
    found = compare("s2l", "random", budget="200-tokens")
    for entry in found["methods"]:
        assert entry["tokens"] <= 200 < entry["tokens"] + 11
        assert entry["rows"] == len(chosen(entry["method"], budget="200-tokens"))
    with pytest.raises(SettingsError, match=r"asks for 121 rows \(122 rows read, 2 of them excluded\)"):
        compare("random", budget="121")
    with pytest.raises(SettingsError, match=r"above the 95[0-9] tokens"):
        compare("random", budget="1k-tokens")


def test_it_is_json_without_nan_and_the_same_again_but_for_the_seconds():
    found, again = compare(), compare()
    text = json.dumps(without_seconds(found), allow_nan=False)
    assert json.loads(text) == json.loads(json.dumps(without_seconds(again)))
    assert text != json.dumps(without_seconds(compare(seed=1)))


def test_rows_all_alike_are_no_obstacle():
    found = compare(recorded=record(np.ones((N, 6))))
    json.dumps(found, allow_nan=False)
    assert found["purity"]["losses"]["clusters"] == 1
    assert of(found, "s2l")["coverage"]["losses"]["mean"] == 0


@pytest.mark.parametrize(
    ("names", "options", "told"),
    [
        (["s2l", "s3l"], {}, "no selection method 's3l'; there are: "),
        (["s2l"], {"s2l": {"cluster": "5"}}, "method s2l has no setting 'cluster'"),
        (["s2l"], {"xmas": {"clusters": "5"}}, "'xmas' has settings but is not compared"),
        (None, {"\x1b[2J": {"a": "b"}}, r"no selection method '\x1b[2J'"),
    ],
)
def test_what_cannot_be_compared_is_one_line(names, options, told):
    with pytest.raises(SettingsError) as error:
        entrants(names, options)
    assert told in str(error.value)
    assert str(error.value).isprintable()


def test_a_method_named_twice_is_compared_once():
    assert [entrant.method.name for entrant in entrants(["random", "s2l", "random"], {})] == ["random", "s2l"]
