"""Finding methods, reading their settings, and what is particular to S2L."""

import numpy as np
import pytest
from selection_toys import record

from s2l.errors import SettingsError
from s2l.progress import SILENT, Silent
from s2l.selection.draw import draw
from s2l.selection.methods import get, methods
from toy_losses import decaying

NAMES = [
    "aum",
    "balanced-random",
    "cartography",
    "ccs",
    "confidence-curriculum",
    "diverse-evol",
    "el2n",
    "facility-location",
    "forgetting",
    "full",
    "grand",
    "high-learnability",
    "ifd",
    "k-center",
    "least-confidence",
    "length",
    "middle-perplexity",
    "perplexity",
    "random",
    "rds",
    "s2l",
    "semdedup",
    "xmas",
]


def plan(losses_NT, seed=0, method="s2l", progress=SILENT, **options):
    return get(method).plan(record(losses_NT), get(method).parse(options), seed, progress)


class Listening(Silent):
    def __init__(self):
        self.lines = []

    def note(self, line):
        self.lines.append(line)


def test_every_file_is_a_method():
    assert list(methods()) == NAMES
    assert all(method.summary for method in methods().values())


def test_an_unknown_method_lists_those_there_are():
    with pytest.raises(SettingsError) as error:
        get("s3l")
    assert str(error.value) == f"no selection method 's3l'; there are: {', '.join(NAMES)}"


@pytest.mark.parametrize(
    ("method", "options", "told"),
    [
        ("s2l", {"cluster": 5}, "no setting 'cluster'; there are: clusters, representation, iterations"),
        ("random", {"clusters": 5}, "no setting 'clusters'; there are: none"),
        ("s2l", {"clusters": "many"}, "clusters='many'"),
        ("s2l", {"clusters": "0"}, "clusters='0'"),
        ("s2l", {"within": "best"}, "'random', 'stable' or 'central'"),
        ("s2l", {"representation": "\x1b[2J"}, r"'\x1b[2J'"),
    ],
)
def test_settings_that_cannot_be_are_one_line(method, options, told):
    with pytest.raises(SettingsError) as error:
        get(method).parse(options)
    assert told in str(error.value)
    assert str(error.value).isprintable()


def test_settings_come_as_text_from_the_command_line():
    assert get("s2l").parse({"clusters": "200"}).clusters == 200


def test_by_default_there_are_as_many_clusters_as_distinct_trajectories_and_it_is_said():
    losses_NT = np.repeat(decaying(7), 3, axis=0)
    listening = Listening()
    assert plan(losses_NT, progress=listening).facts["clusters"] == 7
    assert listening.lines == ["7 clusters instead of 100: there are no more distinct loss trajectories"]
    assert plan(decaying(150)).facts["clusters"] == 100


def test_an_explicit_number_of_clusters_above_the_distinct_trajectories_is_refused():
    with pytest.raises(SettingsError, match="8 clusters cannot be made of 7 distinct"):
        plan(np.repeat(decaying(7), 3, axis=0), clusters=8)


def test_the_first_of_a_cluster_are_any_or_the_stablest_or_the_most_central():
    losses_NT = decaying(60)
    recorded_NT = record(losses_NT).trajectories.losses_NT
    stable, central = (plan(losses_NT, clusters=5, within=within) for within in ("stable", "central"))
    assert stable.score_N == pytest.approx(np.abs(np.diff(recorded_NT, axis=1)).sum(axis=1))
    assert central.score_N.tolist() == central.distance_N.tolist()
    assert plan(losses_NT, clusters=5).group_N.tolist() == stable.group_N.tolist()


def test_the_clusters_have_a_seed_of_their_own_if_wanted():
    losses_NT = decaying(300)
    one, other = (plan(losses_NT, seed=seed, clusters=20, cluster_seed=7) for seed in (1, 2))
    assert one.group_N.tolist() == other.group_N.tolist()
    assert one.score_N.tolist() != other.score_N.tolist()
    assert one.group_N.tolist() != plan(losses_NT, seed=1, clusters=20).group_N.tolist()


def test_the_kernel_changes_nothing_but_the_time():
    own, faiss = (plan(decaying(500), clusters=20, kernel=kernel) for kernel in ("own", "faiss"))
    assert faiss.group_N.tolist() == own.group_N.tolist()
    assert faiss.facts == own.facts


def test_s2l_and_random_draw_by_different_numbers():
    ours, random = (plan(decaying(2000), method=method).score_N for method in ("s2l", "random"))
    assert abs(np.corrcoef(ours, random)[0, 1]) < 0.1


@pytest.mark.parametrize("start", ["kmeans++", "random"])
@pytest.mark.parametrize("representation", ["raw", "log", "z-normalised", "differences"])
def test_noise_of_a_thousandth_keeps_most_of_the_subset(representation, start):
    losses_NT = decaying(5000)
    noisy_NT = np.abs(losses_NT + np.random.default_rng(1).normal(0, 1e-3, losses_NT.shape))
    kept_N, again_N = (
        draw(plan(losses, representation=representation, start=start), record(losses), 550)
        for losses in (losses_NT, noisy_NT)
    )
    assert (kept_N & again_N).sum() > 0.75 * 550, "chance is 11 %"
