"""Methods that train in rounds: which rows each round adds, against the rule written out; and a run is trained once."""

import json
from pathlib import Path

import numpy as np
import pytest
from selection_toys import record, statistics

from s2l.errors import SettingsError
from s2l.progress import SILENT, Silent
from s2l.selection import keyed
from s2l.selection.cost import Cost
from s2l.selection.methods import get
from s2l.selection.methods.confidence_curriculum import nearest_first
from s2l.selection.rounds import rows_after
from s2l.selection.unit import directions
from toy_losses import decaying
from toy_runs import Outcome, kept_ids, s2l

LOSSES_NT = decaying(60)
BOTH = ("diverse-evol", "confidence-curriculum")


class Listening(Silent):
    """Keeps what is told."""

    def __init__(self):
        self.lines = []

    def note(self, line):
        self.lines.append(line)


def order(method, recorded, seed=0, progress=SILENT, **options):
    plan = get(method).plan(recorded, get(method).parse(options), seed, progress)
    return np.argsort(plan.score_N).tolist()


def test_rounds_are_equal_shares_and_none_is_without_a_row():
    assert rows_after(record(LOSSES_NT, most=10), 3) == [3, 6, 10]
    assert rows_after(record(LOSSES_NT, most=2), 3) == [1, 2]
    assert rows_after(record(LOSSES_NT), 2) == [30, 60]


def test_diverse_evol_goes_on_farthest_first_from_random_rows_as_the_proxy_trained_on_them_sees_it():
    recorded = record(LOSSES_NT, most=20)
    found = order("diverse-evol", recorded, seed=5)
    keys_N = keyed.keys(5, "diverse-evol", recorded.trajectories.ids)
    expected = np.argsort(keys_N)[:6].tolist()
    for stop in (13, 20):
        units = directions(record(LOSSES_NT).more.embeddings_after(np.array(expected))).astype(np.int64)
        while len(expected) < stop:
            nearest = np.min([np.square(units - units[row]).sum(axis=1) for row in expected], axis=0)
            nearest[expected] = -1
            expected.append(int(nearest.argmax()))
    assert found[:20] == expected
    assert recorded.more.asked == [sorted(expected[:6]), sorted(expected[:13])]
    assert sorted(found) == list(range(60))


@pytest.mark.parametrize(("of", "statistic"), [("predicted", "p_max"), ("target", "p_target")])
def test_confidence_falls_from_round_to_round_as_the_proxy_of_the_round_sees_it(of, statistic):
    recorded = record(LOSSES_NT, most=12)
    found = order("confidence-curriculum", recorded, rounds=4, of=of)
    chosen = []
    for round_ in range(4):
        assert recorded.more.asked[round_] == sorted(chosen)
        confidence_N = statistics(LOSSES_NT)[statistic][:, sum(chosen) % 6]
        waiting = sorted(set(range(60)) - set(chosen), key=lambda row: confidence_N[row])
        wanted = len(waiting) * (1 - (round_ + 0.5) / 4) - 0.5
        chosen += sorted(sorted(waiting), key=lambda row: abs(waiting.index(row) - wanted))[:3]
    assert found[:12] == chosen
    assert sorted(found) == list(range(60))


def test_the_nearest_to_a_quantile_are_the_ranks_around_it():
    values = np.array([0.5, 0.1, 0.9, 0.3, 0.7])
    assert nearest_first(values, 0.5).tolist() == [0, 3, 4, 1, 2]
    assert nearest_first(values, 1.0)[:2].tolist() == [2, 4]
    assert nearest_first(np.ones(4), 0.125).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("method", BOTH)
def test_what_it_takes_is_said_before_anything_is_trained(method):
    recorded, listening = record(LOSSES_NT, most=12), Listening()
    recorded.more._after = None
    with pytest.raises(TypeError):
        order(method, recorded, progress=listening)
    readings = 2 if method == "diverse-evol" else 3
    assert listening.lines == [
        f"{method}, 3 rounds: as much as 20.0% of the run's training and {readings} of its 6 recordings, "
        "less what is kept from before"
    ]


@pytest.mark.parametrize("method", BOTH)
def test_one_round_trains_nothing(method):
    recorded = record(LOSSES_NT, most=12)
    order(method, recorded, rounds=1)
    assert all(rows == [] for rows in recorded.more.asked)


@pytest.mark.parametrize("method", [*BOTH, "rds"])
def test_without_a_run_it_says_what_is_needed(method):
    recorded = record(LOSSES_NT)
    object.__setattr__(recorded, "more", None)
    options = {"examples": __file__} if method == "rds" else {}
    with pytest.raises(SettingsError, match="needs the run's proxy: draw from a run folder"):
        order(method, recorded, **options)


def test_the_cost_is_that_of_the_trainings_and_the_passes():
    evol = get("diverse-evol")
    assert evol.cost(evol.parse({}), (10, 20)) == Cost(trained=1.0, more=2, in_rounds=True)
    curriculum = get("confidence-curriculum")
    assert curriculum.cost(curriculum.parse({"rounds": 4}), (10, 20)) == Cost(trained=1.5, more=4, in_rounds=True)


def drawn(run: Path, method: str, *more: str) -> Outcome:
    outcome = s2l("select", run, "--method", method, "--set", "rounds=2", "--json", "--budget", *more)
    assert outcome.code == 0, outcome.err
    return outcome


@pytest.mark.parametrize("method", BOTH)
def test_the_same_draw_again_trains_nothing_and_is_the_same(
    method: str, own_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = drawn(own_run, method, "10,20")
    assert f"{method}, 2 rounds: as much as " in first.err
    assert first.err.count("train the proxy: done") == 1
    small, large = (kept_ids(own_run / subset["path"]) for subset in json.loads(first.out)["subsets"])
    assert (len(small), len(large)) == (10, 20)
    assert small < large

    monkeypatch.setattr("s2l.proxy.stage.train", None)
    monkeypatch.setattr("s2l.scoring.represent.load_model", None)
    again = drawn(own_run, method, "10,20")
    assert again.out == first.out
    assert "recordings, once" not in again.err
