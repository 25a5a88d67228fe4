"""What every selection method must keep, whichever file of `selection/methods/` it lives in."""

import json
from itertools import pairwise

import numpy as np
import pytest
from selection_toys import record, rows_of

from s2l.config import SelectSettings
from s2l.errors import SettingsError
from s2l.selection.methods import get, methods
from s2l.selection.select import select
from toy_losses import decaying, make_ids

N = 120
EXCLUDED = {b"0" * 24: "empty response", b"f" * 24: "no response token within max_length"}
SEEDLESS = {
    "aum",
    "cartography",
    "confidence-curriculum",
    "el2n",
    "facility-location",
    "forgetting",
    "full",
    "grand",
    "high-learnability",
    "ifd",
    "least-confidence",
    "length",
    "middle-perplexity",
    "perplexity",
    "rds",
    "semdedup",
    "xmas",
}
"""Rank rows by what was recorded alone, as do those whose clusters are one, or as many as the rows, in a small pool."""
OPTIONS = {"rds": {"examples": __file__}, "semdedup": {"clusters": 5}}
"""Of methods that need some: toy representations do not read the file, and one cluster is the same for every seed."""
POOLS = {
    "decaying": record(decaying(N)),
    "tied": record(np.repeat(decaying(4), N // 4, axis=0)),
    "all alike": record(np.ones((N, 6))),
    "one source": record(decaying(N), sources=("only",)),
    "one checkpoint": record(decaying(N, checkpoints=1)),
}


@pytest.fixture(params=list(methods()))
def method(request):
    return request.param


@pytest.fixture(params=list(POOLS))
def recorded(request):
    return POOLS[request.param]


@pytest.fixture(autouse=True)
def one_checkpoint_has_no_drops(request):
    names = set(request.node.callspec.params.values()) if hasattr(request.node, "callspec") else set()
    if "one checkpoint" in names and {"forgetting", "high-learnability"} & names:
        pytest.skip("needs two checkpoints")


def choose(recorded, method, *budgets, seed=0, order=None, keep=frozenset(), excluded=None, **settings):
    settings = SelectSettings(method=method, budgets=budgets, options=OPTIONS.get(method, {}), **settings)
    return select(rows_of(recorded, excluded, order), recorded, settings, seed, keep)


@pytest.mark.parametrize("balance", ["none", "source"])
def test_budgets_are_exact_and_nested(method, recorded, balance):
    chosen = choose(recorded, method, 1, 7, 40, "50%", N - 1, N, balance=balance)
    kept = [set(selection.kept_ids.tolist()) for selection in chosen]
    assert [len(ids) for ids in kept] == [1, 7, 40, 60, N - 1, N]
    assert all(small <= large for small, large in pairwise(kept))


def test_every_row_has_one_verdict_and_a_reason(method, recorded):
    (selection,) = choose(recorded, method, 30, excluded=EXCLUDED, order=5)
    assert selection.ids.tolist() == rows_of(recorded, EXCLUDED, 5).ids.tolist()
    for id_, kept, reason in zip(selection.ids.tolist(), selection.kept_N, selection.reason_N, strict=True):
        text = selection.reasons[reason]
        assert text.startswith("drawn") if kept else text.startswith(("not drawn", "excluded: "))
        assert (id_ in EXCLUDED) == text.startswith("excluded: ")


def test_excluded_rows_are_never_chosen_and_keep_their_reason(method, recorded):
    (selection,) = choose(recorded, method, N, excluded=EXCLUDED, order=3)
    for id_, reason in EXCLUDED.items():
        row = selection.ids.tolist().index(id_)
        assert selection.reasons[selection.reason_N[row]] == f"excluded: {reason}"
        assert not selection.kept_N[row]
        assert selection.cluster_N[row] == -1
        assert np.isnan(selection.score_N[row])


def test_the_same_seed_gives_the_same_ids_in_any_row_order(method, recorded):
    first, *others = (choose(recorded, method, 30, order=order)[0] for order in (None, None, 1, 2))
    assert {other.sha256 for other in others} == {first.sha256}


def test_another_seed_gives_other_ids(method):
    if method in SEEDLESS:
        pytest.skip("ranks rows by what was recorded alone")
    one, other = (choose(POOLS["decaying"], method, 30, seed=seed)[0] for seed in (0, 1))
    assert one.sha256 != other.sha256


def test_rows_kept_on_request_are_in_and_say_so(method, recorded):
    keep = frozenset(make_ids(N)[[3, 50, 119]].tolist())
    for selection in choose(recorded, method, 3, 20, keep=keep):
        assert keep <= set(selection.kept_ids.tolist())
        asked = selection.reason_N == selection.reasons.index("kept on request")
        assert set(selection.ids[asked].tolist()) == keep


def test_settings_survive_json(method):
    settings = get(method).parse(OPTIONS.get(method, {}))
    assert type(settings).model_validate(json.loads(settings.model_dump_json())) == settings


def test_facts_are_json_and_count_every_row_drawn(method, recorded):
    (selection,) = choose(recorded, method, "25%", balance="source")
    facts = json.loads(json.dumps(selection.facts))
    assert facts["budget"] == "25%"
    assert sum(group["drawn"] for group in facts["groups"]) == 30
    assert sum(group["rows"] for group in facts["groups"]) == N


def test_more_than_the_scorable_rows_is_refused_by_numbers(method, recorded):
    with pytest.raises(SettingsError, match=rf"asks for 121 rows \(122 rows read, 2 of them excluded\): .* {N}$"):
        choose(recorded, method, N + 1, excluded=EXCLUDED)
