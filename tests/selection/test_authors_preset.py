"""`--preset authors`: how the authors' code shares a budget; each of its settings is told and can be changed."""

import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selection_toys import record, rows_of

from s2l import library
from s2l.config import SelectSettings
from s2l.errors import SettingsError
from s2l.flags import PRESETS, command, validated, with_flags, with_preset
from s2l.progress import SILENT
from s2l.selection.draw import queue_up
from s2l.selection.kmeans import Clustering
from s2l.selection.methods import get
from s2l.selection.methods.s2l import small_together
from s2l.selection.select import select
from s2l.types import Plan
from toy_losses import decaying, make_ids
from toy_runs import FLAGS, SETTINGS, kept_ids, manifest, s2l, verdicts
from toy_runs import FOLDER as RUN_FOLDER

AUTHORS = PRESETS["authors"]
FOLDER = "s2l-11pct-iterations-21-inside-source-start-random-sample-256-small-last-balance-source"


def shares(sizes, budget):
    """Evenly from the smallest on; what a small one lacks goes to the larger ones. Name → rows."""
    taken = {}
    for left, (name, size) in zip(range(len(sizes), 0, -1), sorted(sizes.items(), key=lambda s: s[1]), strict=True):
        taken[name] = min(size, budget // left)
        budget -= taken[name]
    return taken


def authors_counts(source_N, label_N, budget):
    """Rows that the authors' code takes of each (source, cluster), and of the clusters of 1 and 2 rows together."""
    counts = {}
    for source, of_source in shares(Counter(source_N), budget).items():
        sizes = Counter(label for s, label in zip(source_N, label_N, strict=True) if s == source)
        large = shares({label: size for label, size in sizes.items() if size > 2}, of_source)
        counts |= {(source, label): taken for label, taken in large.items()}
        counts[source, "small"] = of_source - sum(large.values())
    return counts


def our_counts(source_N, label_N, budget):
    """The same by the plan that the preset makes of these clusters."""
    n, pairs = len(source_N), np.unique(np.stack([source_N, label_N]), axis=1, return_inverse=True)[1].ravel()
    sizes_K, nothing = np.bincount(pairs), np.zeros(n)
    clustering = Clustering(pairs, nothing, np.zeros((len(sizes_K), 1)), sizes_K, 0.0, 1, "iterations")
    group_N, last_N = small_together(clustering, np.array(source_N))
    plan = Plan(group_N, nothing, nothing, last_N=last_N)
    kept_N = queue_up(plan, make_ids(n), strata_N=np.array(source_N)).take(budget)
    found = Counter()
    for source, label, last, kept in zip(source_N, label_N, last_N.tolist(), kept_N.tolist(), strict=True):
        found[source, "small" if last else label] += kept
    return found


def test_a_budget_is_shared_as_worked_out_by_hand():
    source_N = [0] * 20 + [1] * 4
    label_N = [0] * 8 + [1] * 6 + [2] * 3 + [3] * 2 + [4] * 1 + [0] * 3 + [1] * 1
    # 16: source 1 has no more than its 8 and gives all 4; of the 12 left 3 of 3, then 9 // 2 = 4 of 6, then 5 of 8
    expected = {(0, 0): 5, (0, 1): 4, (0, 2): 3, (0, "small"): 0, (1, 0): 3, (1, "small"): 1}
    assert authors_counts(source_N, label_N, 16) == expected == our_counts(source_N, label_N, 16)
    # 22: of the 18 left all 17 of the larger clusters, and 1 of the 3 rows in small ones
    expected = {(0, 0): 8, (0, 1): 6, (0, 2): 3, (0, "small"): 1, (1, 0): 3, (1, "small"): 1}
    assert authors_counts(source_N, label_N, 22) == expected == our_counts(source_N, label_N, 22)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6)), min_size=1, max_size=60), st.data())
def test_counts_by_source_and_cluster_are_those_of_the_authors_rule(rows, data):
    source_N, label_N = map(list, zip(*rows, strict=True))
    budget = data.draw(st.integers(0, len(rows)))
    sizes = Counter(zip(source_N, label_N, strict=True))
    of_source = Counter(source_N)

    def by_size(counts):
        """Clusters of one size, and sources of one size, stand in any order."""
        large = [
            (of_source[s], sizes[s, label], taken)
            for (s, label), taken in counts.items()
            if label != "small" and sizes[s, label] > 2
        ]
        totals = Counter()
        for (source, _), taken in counts.items():
            totals[source] += taken
        return sorted(large), sorted((of_source[s], taken) for s, taken in totals.items())

    if len(set(of_source.values())) == len(of_source):
        assert by_size(our_counts(source_N, label_N, budget)) == by_size(authors_counts(source_N, label_N, budget))


def draw(recorded, *budgets, seed=0, order=None, **changed):
    given = with_preset("authors", {"set": changed})
    settings = SelectSettings(budgets=budgets, options=given["set"], balance=given["balance"])
    return select(rows_of(recorded, seed=order), recorded, settings, seed)


@pytest.mark.parametrize("losses_NT", [decaying(400), np.repeat(decaying(20), 20, axis=0), np.ones((400, 3))])
def test_subsets_of_the_preset_are_exact_nested_and_free_of_order(losses_NT):
    recorded = record(losses_NT)
    chosen = draw(recorded, 1, 40, 200, 399, 400)
    kept = [set(selection.kept_ids.tolist()) for selection in chosen]
    assert [len(ids) for ids in kept] == [1, 40, 200, 399, 400]
    assert all(small <= large for small, large in pairwise(kept))
    assert [selection.sha256 for selection in draw(recorded, 1, 40, order=4)] == [s.sha256 for s in chosen[:2]]
    assert draw(recorded, 40, seed=1)[0].sha256 != chosen[1].sha256


def test_small_clusters_are_one_group_of_each_source_and_come_last():
    (selection,) = draw(record(decaying(400)), 300)
    last = {group["source"]: group for group in selection.facts["groups"] if group.get("last")}
    others = Counter()
    for group in selection.facts["groups"]:
        others[group["source"]] += group["drawn"] if not group.get("last") else 0
    # source a has 134 rows and a share of 150: all are drawn; of b's 266 only 166, none of them of a small cluster
    assert last["a"]["drawn"] == last["a"]["rows"] == 134 - others["a"]
    assert (last["b"]["drawn"], others["b"]) == (0, 166)
    assert last["b"]["rows"] > 2
    told = f"not drawn from clusters of at most 2 rows of source 'b' (0 of {last['b']['rows']})"
    assert [selection.reasons[i] for i in selection.reason_N].count(told) == last["b"]["rows"]


@pytest.mark.parametrize("name", sorted(AUTHORS["set"].keys() - {"small"}))
def test_each_setting_of_the_clusters_matters_alone(name):
    recorded, default = record(decaying(4000, noise=0.3)), get("s2l").settings().model_dump()
    all_but_one = AUTHORS["set"] | {name: default[name]}
    ours, theirs = (
        get("s2l").plan(recorded, get("s2l").parse({**options, "clusters": 5}), 0, SILENT)
        for options in (all_but_one, AUTHORS["set"])
    )
    assert not np.array_equal(ours.group_N, theirs.group_N)


def test_the_preset_is_laid_under_the_flags_and_over_the_recipe():
    recipe = {"pool": {"paths": ["pool.jsonl"]}, "select": {"budgets": ["11%"], "method": "random"}}
    flags = with_preset("authors", {"template": "short", "set": {"sample": "64"}})
    settings = validated(with_flags(recipe, flags))
    assert (settings.tokens.template, settings.select.method, settings.select.balance) == ("short", "s2l", "source")
    assert settings.select.options == AUTHORS["set"] | {"sample": "64"}
    alone = validated(with_flags(recipe, with_preset("authors", {})))
    assert alone.tokens.template == "alpaca"
    for word in ("--template alpaca", "--balance source", "--set inside=source", "--set iterations=21"):
        assert word in command(alone, "run")
    assert with_preset(None, {"seed": 1}) == {"seed": 1}


def test_a_preset_that_is_not_there_or_is_of_another_method_is_refused():
    with pytest.raises(SettingsError, match="no preset 'autors'; there are: authors"):
        with_preset("autors", {})
    with pytest.raises(SettingsError, match="--preset authors is of method s2l: leave out --method 'random'"):
        with_preset("authors", {"method": "random"})


def test_select_draws_with_the_preset_and_tells_its_settings(own_run):
    outcome = s2l("select", own_run, "--budget", "11%", "--preset", "authors", "--json")
    (told,) = json.loads(outcome.out)["subsets"]
    assert told["name"] == FOLDER
    subset = own_run / "subsets" / FOLDER
    assert len(kept_ids(subset)) == told["rows"] == 17
    facts = json.loads((subset / "manifest.json").read_text(encoding="utf-8"))
    assert {name: facts["facts"]["settings"][name] for name in AUTHORS["set"]} == AUTHORS["set"]
    by_source = Counter(row["source"] for row in verdicts(subset) if row["kept"])
    assert sorted(by_source.values()) == [5, 6, 6]
    again = s2l("select", own_run, "--budget", "11%", "--balance", "source", *AS_FLAGS)
    assert again.code == 0
    assert FOLDER in again.out


AS_FLAGS = [word for name, value in AUTHORS["set"].items() for word in ("--set", f"{name}={value}")]


def test_run_sets_the_template_too(toy_pool, own_run):
    outcome = s2l("run", toy_pool, "--budget", "11%", "--with-random", *FLAGS, "--preset", "authors", "--out", own_run)
    assert outcome.code == RUN_FOLDER
    assert "template" in outcome.error


def test_python_takes_the_preset_too(toy_pool):
    with pytest.raises(SettingsError, match="no preset 'theirs'"):
        library.select(toy_pool, 0.11, preset="theirs")


def test_the_command_line_refuses_an_unknown_preset_in_one_line(own_run):
    outcome = s2l("select", own_run, "--budget", "11%", "--preset", "theirs")
    assert outcome.code == SETTINGS
    assert "no preset 'theirs'; there are: authors" in outcome.error
    assert manifest(own_run)["settings"]["select"]["balance"] == "none"
