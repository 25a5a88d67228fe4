"""Every method that ranks by what was recorded, against its formula written out row by row."""

import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selection_toys import record, statistics

from s2l.errors import SettingsError
from s2l.progress import SILENT
from s2l.selection.draw import draw
from s2l.selection.greedy import facility_location, k_center
from s2l.selection.kmeans import kmeans
from s2l.selection.methods import get, methods
from s2l.selection.methods.semdedup import similarity_to_those_before
from s2l.selection.scores import column, columns, mean_at, places
from s2l.selection.unit import UNITS, directions
from toy_losses import decaying

LOSSES_NT = decaying(40, checkpoints=8)
MEANS = {name: mean_NT.tolist() for name, mean_NT in statistics(LOSSES_NT).items()}
ROWS = range(len(LOSSES_NT))
TOKENS = [1 + row % 5 for row in ROWS]
OPTIONS = {"rds": {"examples": __file__}}
"""Of methods that need some; toy representations do not read the file."""


def recorded_with(losses_NT, tokens=None, steps=None, most=None):
    """Recorded rows of so many response tokens each: the sums differ where the means are the same."""
    recorded = record(losses_NT, most=most)
    tokens_N = recorded.trajectories.tokens_N if tokens is None else np.array(tokens)
    sums = {name: (mean_NT * tokens_N[:, None]).astype(np.float32) for name, mean_NT in statistics(losses_NT).items()}
    known = replace(recorded.trajectories, tokens_N=tokens_N, sums=sums)
    return replace(recorded, trajectories=known if steps is None else replace(known, steps=steps))


def with_sums(trajectories, **sums):
    return replace(trajectories, sums={**trajectories.sums, **sums})


def plan(method, recorded=None, seed=0, progress=SILENT, **options):
    recorded = recorded or recorded_with(LOSSES_NT, TOKENS)
    return get(method).plan(recorded, get(method).parse(options), seed, progress)


def score(method, **options):
    return plan(method, **options).score_N


def mean(values):
    return sum(values) / len(values)


def drops(row):
    hits = MEANS["hits"][row]
    return [max(0.0, before - after) for before, after in pairwise(hits)]


def deviation(values):
    return math.sqrt(mean([(value - mean(values)) ** 2 for value in values]))


def perplexity_alone(row, column):
    return math.exp(1.2 * LOSSES_NT[row, column] - 0.1)


NAIVE = {
    ("least-confidence",): lambda row: MEANS["p_max"][row][-1],
    ("least-confidence", ("of", "target")): lambda row: MEANS["p_target"][row][-1],
    ("least-confidence", ("at", "early")): lambda row: mean(MEANS["p_max"][row][:2]),
    ("perplexity",): lambda row: MEANS["nll"][row][-1],
    ("perplexity", ("first", "high"), ("at", "early")): lambda row: -mean(MEANS["nll"][row][:2]),
    ("high-learnability",): lambda row: MEANS["nll"][row][-1] - MEANS["nll"][row][0],
    ("el2n",): lambda row: -mean(MEANS["el2n"][row][:2]),
    ("el2n", ("at", "late")): lambda row: -MEANS["el2n"][row][-1],
    ("cartography",): lambda row: -deviation(MEANS["p_target"][row]),
    ("cartography", ("region", "hard")): lambda row: mean(MEANS["p_target"][row]),
    ("cartography", ("region", "easy")): lambda row: -mean(MEANS["p_target"][row]),
    ("forgetting",): lambda row: -sum(drop > 0 for drop in drops(row)) - mean(drops(row)) / 2,
    ("aum",): lambda row: -mean(MEANS["margin"][row]),
    ("aum", ("first", "low")): lambda row: mean(MEANS["margin"][row]),
    ("length",): lambda row: -(1 + row % 5),
    ("length", ("of", "row")): lambda row: -(5 + row % 7),
    ("length", ("first", "short")): lambda row: 1 + row % 5,
    ("full",): lambda _row: 0,
    ("grand",): lambda row: -2 * mean(LOSSES_NT[row, :2].tolist()),
    ("grand", ("scope", "head"), ("at", "late")): lambda row: -LOSSES_NT[row, -1],
    ("ifd",): lambda row: abs(math.log(math.exp(LOSSES_NT[row, 1]) / perplexity_alone(row, 1))),
    ("ifd", ("at", "late")): lambda row: abs(math.log(math.exp(LOSSES_NT[row, -1]) / perplexity_alone(row, -1))),
    ("xmas", ("clusters", 3)): lambda row: sum(abs(b - a) for a, b in pairwise(LOSSES_NT[row].tolist())),
}


@pytest.mark.parametrize("case", NAIVE, ids=str)
def test_scores_are_those_of_the_formula(case):
    method, *options = case
    expected = [NAIVE[case](row) for row in ROWS]
    np.testing.assert_allclose(score(method, **dict(options)), expected, atol=5e-6)


@given(st.lists(st.integers(1, 400), min_size=40, max_size=40))
def test_scores_are_of_means_whatever_the_number_of_tokens(tokens):
    for method in ("least-confidence", "perplexity", "el2n", "cartography", "aum", "high-learnability"):
        np.testing.assert_allclose(plan(method, recorded_with(LOSSES_NT, tokens)).score_N, score(method), atol=1e-5)


def test_early_is_the_first_quarter_of_training_and_start_is_before_it():
    assert columns("early", (0, 10, 20, 30, 40, 50, 60, 70, 80)) == [1, 2]
    assert columns("early", (30, 40)) == [0]
    assert columns("early", (0, 40)) == [1]
    assert columns("start", (0, 10)) == [0]
    assert columns("late", (0, 10, 20)) == [2]
    with pytest.raises(SettingsError, match="--initial-checkpoint"):
        columns("start", (10, 20))


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=12, unique=True).map(sorted), st.booleans())
def test_every_time_means_checkpoints_that_are_there(steps, initial):
    steps = ((0,) if initial else ()) + tuple(steps)
    for at in ("early", "late", *(["start"] if initial else [])):
        found = columns(at, steps)
        assert found == sorted(set(found))
        assert column(at, steps) == found[-1]
        assert 0 <= found[0] <= found[-1] < len(steps)
        if at == "early":
            assert steps[found[0]] > 0
            assert len(found) == 1 or all(4 * steps[t] <= steps[-1] for t in found)
    losses_NT = decaying(5, checkpoints=len(steps))
    trajectories = recorded_with(losses_NT, steps=steps).trajectories
    early = losses_NT[:, columns("early", steps)].mean(axis=1)
    np.testing.assert_allclose(mean_at(trajectories, "nll", "early"), early, atol=1e-6)


def test_a_score_before_training_reads_checkpoint_zero():
    recorded = recorded_with(LOSSES_NT, TOKENS, steps=(0, 10, 20, 30, 40, 50, 60, 70))
    np.testing.assert_allclose(plan("perplexity", recorded, at="start").score_N, LOSSES_NT[:, 0], atol=1e-6)
    np.testing.assert_allclose(plan("grand", recorded).score_N, -2 * LOSSES_NT[:, 1], atol=1e-6)


@given(st.permutations(range(30)))
def test_places_are_the_inverse_of_an_order(order):
    assert np.argsort(places(np.array(order))).tolist() == order


def test_middle_perplexity_goes_outwards_from_the_median():
    order = np.argsort(score("middle-perplexity"), kind="stable").tolist()
    by_loss = np.argsort(LOSSES_NT[:, -1]).tolist()
    for pairs in range(1, 21):
        assert set(order[: 2 * pairs]) == set(by_loss[20 - pairs : 20 + pairs])


@given(st.lists(st.sampled_from([0.5, 1.0, 2.0, 4.0]), min_size=1, max_size=30))
def test_middle_perplexity_takes_the_median_first_also_among_ties(losses):
    values = np.array(losses)[:, None]
    first = int(plan("middle-perplexity", recorded_with(values)).score_N.argmin())
    assert losses[first] in {sorted(losses)[(len(losses) - 1) // 2], sorted(losses)[len(losses) // 2]}


def test_high_learnability_says_where_it_counts_from():
    notes = []
    listening = type("Listening", (type(SILENT),), {"note": lambda self, line: notes.append(line)})()
    assert plan("high-learnability", progress=listening).facts == {"since_step": 1}
    assert notes == ["learnability is counted from the first checkpoint: nothing was recorded before training"]
    before = recorded_with(LOSSES_NT, TOKENS, steps=tuple(range(8)))
    assert plan("high-learnability", before, progress=listening).facts == {"since_step": 0}
    assert len(notes) == 1


@given(st.lists(st.lists(st.integers(0, 4), min_size=5, max_size=5), min_size=2, max_size=12))
def test_more_drops_come_first_whatever_their_size(hits):
    hits_NT = np.array(hits) / 4
    recorded = record(np.ones(hits_NT.shape))
    trajectories = with_sums(recorded.trajectories, hits=(4 * hits_NT).astype(np.float32))
    score_N = plan("forgetting", replace(recorded, trajectories=trajectories)).score_N
    count, size = (
        [total(max(0, a - b) for a, b in pairwise(row)) for row in hits]
        for total in (lambda drops: sum(drop > 0 for drop in drops), sum)
    )
    count = [drops if any(row) else len(row) for drops, row in zip(count, hits, strict=True)]
    expected = sorted(range(len(hits)), key=lambda row: (-count[row], -size[row], row))
    assert np.argsort(score_N, kind="stable").tolist() == expected


@pytest.mark.parametrize("method", ["forgetting", "high-learnability"])
def test_what_changes_while_training_needs_two_checkpoints(method):
    with pytest.raises(SettingsError, match="2 checkpoints or more"):
        plan(method, recorded_with(decaying(5, checkpoints=1)))


def test_rows_that_were_never_right_are_the_most_forgotten():
    hits_NT = np.array([[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1]], dtype=np.float32)
    recorded = record(np.ones(hits_NT.shape))
    forgetting = plan("forgetting", replace(recorded, trajectories=with_sums(recorded.trajectories, hits=hits_NT)))
    assert np.argsort(forgetting.score_N, kind="stable").tolist() == [1, 0, 2, 3]
    assert forgetting.facts == {"rows_never_right": 1, "rows_never_forgotten": 2}


@pytest.mark.parametrize(
    ("method", "options"),
    [("aum", {}), ("cartography", {}), ("cartography", {"region": "hard"}), ("forgetting", {}), ("ccs", {})],
)
def test_what_is_averaged_over_training_leaves_out_the_checkpoint_before_it(method, options):
    steps = (0, 10, 20, 30, 40, 50, 60, 70)
    whole = recorded_with(LOSSES_NT, TOKENS, steps=steps)
    sums = {name: sum_NT[:, 1:] for name, sum_NT in whole.trajectories.sums.items()}
    later = replace(whole, trajectories=replace(whole.trajectories, sums=sums, steps=steps[1:]))
    one, other = (plan(method, recorded, **options) for recorded in (whole, later))
    assert np.array_equal(one.score_N, other.score_N)
    assert np.array_equal(one.group_N, other.group_N)


def test_rows_whose_prompt_does_not_help_come_last_in_ifd():
    ifd = plan("ifd", at="late")
    ratio = [math.exp(LOSSES_NT[row, -1]) / perplexity_alone(row, -1) for row in ROWS]
    assert ifd.last_N.tolist() == [value >= 1 for value in ratio]
    assert 0 < ifd.last_N.sum() < len(ratio)
    assert ifd.facts["prompt_does_not_help"] == ifd.last_N.sum()
    assert ifd.facts["median_ifd"] == pytest.approx(float(np.median(ratio)), rel=1e-2)
    below = [row for row in ROWS if ratio[row] < 1]
    best_first = sorted(below, key=lambda row: -ratio[row]) + sorted(set(ROWS) - set(below), key=lambda row: ratio[row])
    for budget in (1, len(below), len(below) + 1, 39):
        kept = np.flatnonzero(draw(ifd, recorded_with(LOSSES_NT, TOKENS), budget))
        assert set(kept.tolist()) == set(best_first[:budget])


def strata(difficulty, count):
    """Of each value, by equal widths from the lowest to the highest."""
    edges = np.linspace(min(difficulty), max(difficulty), count + 1)
    return np.clip(np.searchsorted(edges, difficulty, side="right") - 1, 0, count - 1)


@pytest.mark.parametrize(("score", "statistic"), [("aum", "margin"), ("el2n", "el2n"), ("loss", "nll")])
def test_ccs_takes_the_hardest_rows_last_and_the_strata_evenly(score, statistic):
    recorded = recorded_with(LOSSES_NT, TOKENS)
    ccs = plan("ccs", recorded, score=score, strata=4, cut=0.25)
    values_NT = np.array(MEANS[statistic])
    difficulty = {"aum": -values_NT.mean(axis=1), "el2n": values_NT[:, :2].mean(axis=1), "loss": values_NT[:, -1]}[
        score
    ]
    assert set(np.flatnonzero(ccs.last_N)) == set(np.argsort(difficulty)[-10:].tolist())
    assert ccs.group_N[~ccs.last_N].tolist() == strata(difficulty[~ccs.last_N], 4).tolist()
    kept = draw(ccs, recorded, 12)
    assert not kept[ccs.last_N].any()
    left, expected = 12, {}
    sizes = Counter(ccs.group_N[~ccs.last_N].tolist())
    for served, (group, size) in enumerate(sorted(sizes.items(), key=lambda item: item[1])):
        expected[group] = min(size, left // (len(sizes) - served))
        left -= expected[group]
    assert Counter(ccs.group_N[kept].tolist()) == {group: count for group, count in expected.items() if count}


@pytest.mark.parametrize("cut", [0, 0.1, 0.29, 0.3, 0.99])
def test_ccs_cuts_that_share_of_the_rows_but_never_all(cut):
    ccs = plan("ccs", recorded_with(decaying(100)), cut=cut)
    assert ccs.last_N.sum() == ccs.facts["too_hard"] == round(100 * cut)
    assert not plan("ccs", recorded_with(decaying(1)), cut=cut).last_N.any()


def test_xmas_draws_evenly_from_its_clusters_the_steadiest_first():
    recorded = recorded_with(LOSSES_NT, TOKENS)
    xmas, s2l = plan("xmas", recorded, clusters=5), plan("s2l", recorded, clusters=5, within="stable")
    assert xmas.group_N.tolist() == s2l.group_N.tolist()
    assert xmas.score_N.tolist() == s2l.score_N.tolist()
    kept = draw(xmas, recorded, 5)
    for cluster in range(5):
        (own,) = np.nonzero(xmas.group_N == cluster)
        assert np.flatnonzero(kept & (xmas.group_N == cluster)).tolist() == [own[xmas.score_N[own].argmin()]]


@pytest.mark.parametrize("method", ["semdedup", "xmas"])
def test_the_seed_moves_the_clusters(method):
    recorded = recorded_with(decaying(200))
    one, other = (plan(method, recorded, seed, clusters=20) for seed in (0, 1))
    assert one.group_N.tolist() != other.group_N.tolist() or one.score_N.tolist() != other.score_N.tolist()


def test_semdedup_ranks_by_the_similarity_to_those_before_in_the_cluster():
    recorded = recorded_with(LOSSES_NT)
    embeddings_ND = recorded.more.embeddings("response", 7)
    units_ND = directions(embeddings_ND) / UNITS
    clustering = kmeans(units_ND, recorded.trajectories.ids, 4, 0, max_iterations=20)
    cosine = [[float(a @ b / math.sqrt((a @ a) * (b @ b))) for b in units_ND] for a in units_ND.astype(np.float64)]
    expected = []
    for row in ROWS:
        before = [
            other
            for other in ROWS
            if clustering.label_N[other] == clustering.label_N[row]
            and (-clustering.distance_N[other], other) < (-clustering.distance_N[row], row)
        ]
        expected.append(max((cosine[row][other] for other in before), default=-1))
    semdedup = plan("semdedup", recorded, clusters=4)
    np.testing.assert_allclose(semdedup.score_N, expected, atol=1e-6)
    assert semdedup.facts == {"clusters": 4, "above_095": sum(value > 0.95 for value in expected)}


@pytest.mark.parametrize("at_once", [1, 200, 10_000])
def test_similarity_to_those_before_does_not_depend_on_how_many_are_taken_at_once(at_once, monkeypatch):
    units_ND = directions(np.random.default_rng(0).normal(size=(40, 3)))
    units_ND[[7, 20]] = units_ND[3]
    units_ND[30] = 0
    expected = [-1.0]
    for row in range(1, 40):
        products = units_ND[:row].astype(np.int64) @ units_ND[row].astype(np.int64)
        norms = np.square(units_ND[:row].astype(np.int64)).sum(axis=1) * np.square(units_ND[row].astype(np.int64)).sum()
        expected.append(
            max(p / math.sqrt(n) if n else 0 for p, n in zip(products.tolist(), norms.tolist(), strict=True))
        )
    monkeypatch.setattr("s2l.selection.methods.semdedup.COSINES", at_once)
    assert similarity_to_those_before(units_ND).tolist() == expected
    assert expected[7] == expected[20] == 1
    assert expected[30] == 0


def test_covers_are_of_the_directions_of_the_embeddings():
    recorded = recorded_with(LOSSES_NT, most=9)
    units_ND = directions(recorded.more.embeddings("response", 7))
    cover = plan("facility-location", recorded)
    order_N, gains = facility_location(units_ND, 9, lambda _rows: None)
    assert np.argsort(cover.score_N).tolist() == order_N.tolist()
    cosine_NN = units_ND.astype(np.float64) @ units_ND.T / UNITS**2
    similar = (1 + cosine_NN[:, order_N[:9]].max(axis=1)) / 2
    assert cover.facts["mean_similarity"] == pytest.approx(similar.mean(), rel=1e-12)
    assert gains.sum() == pytest.approx(2 * UNITS**2 * similar.sum(), rel=1e-12)
    spread = plan("k-center", recorded)
    first = int(spread.score_N.argmin())
    order_N, squared_N = k_center(units_ND, np.array([first]), 9, lambda _rows: None)
    assert np.argsort(spread.score_N).tolist() == order_N.tolist()
    assert spread.facts["radius"] == pytest.approx(math.sqrt(squared_N[9]) / UNITS)


NEED_THE_PROXY = ["confidence-curriculum", "diverse-evol", "facility-location", "grand", "ifd", "k-center", "semdedup"]


@pytest.mark.parametrize("method", NEED_THE_PROXY)
def test_a_method_that_needs_the_proxy_says_so_without_one(method):
    with pytest.raises(SettingsError, match="draw from a run folder"):
        plan(method, replace(recorded_with(LOSSES_NT), more=None))


@pytest.mark.parametrize("at", ["early", "late"])
def test_embeddings_are_of_the_checkpoint_asked_for(at):
    seen = []
    recorded = recorded_with(LOSSES_NT)
    embeddings = recorded.more.embeddings
    recorded.more.embeddings = lambda pooling, column: seen.append((pooling, column)) or embeddings(pooling, column)
    for method in ("facility-location", "k-center", "semdedup"):
        plan(method, recorded, at=at)
    assert seen == [("response", {"early": 1, "late": 7}[at])] * 3


@pytest.mark.parametrize("method", methods())
def test_one_row_has_a_score(method):
    one = plan(method, record(decaying(1)), **OPTIONS.get(method, {}))
    assert np.isfinite(one.score_N).all()
    assert len(one.score_N) == len(one.group_N) == 1
    assert draw(one, record(decaying(1)), 1).all()


@pytest.mark.parametrize("method", sorted({case[0] for case in NAIVE}))
def test_equal_rows_have_equal_scores(method):
    score_N = plan(method, recorded_with(np.repeat(decaying(6), 2, axis=0))).score_N
    assert score_N[::2].tolist() == score_N[1::2].tolist()
