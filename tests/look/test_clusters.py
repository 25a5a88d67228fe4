"""The table of clusters is what a count by hand gives."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from look_toys import losses
from s2l.errors import SettingsError
from s2l.look.clusters import SORTS, clusters
from toy_runs import s2l, verdicts


def test_every_figure_is_that_of_a_count_by_hand(toy_run: Path) -> None:
    found = clusters(toy_run)
    rows = [row for row in verdicts(toy_run / "subsets/s2l-11pct") if row["cluster"] is not None]
    every = losses(toy_run)
    assert [cluster["number"] for cluster in found["clusters"]] == sorted({row["cluster"] for row in rows})
    for cluster in found["clusters"]:
        mine = [row for row in rows if row["cluster"] == cluster["number"]]
        mean = np.mean([every[row["id"]] for row in mine], axis=0)
        assert cluster["size"] == len(mine)
        assert cluster["drawn"] == sum(row["kept"] for row in mine)
        assert cluster["share"] == cluster["drawn"] / cluster["size"]
        assert cluster["losses"] == pytest.approx(mean)
        assert (cluster["first"], cluster["last"]) == pytest.approx((mean[0], mean[-1]))
        assert cluster["fall"] == pytest.approx(mean[0] - mean[-1])
        assert cluster["central"]["id"] == min(mine, key=lambda row: (row["distance"], row["id"]))["id"]
        counts = sorted(Counter(row["source"] for row in mine).items(), key=lambda item: (-item[1], item[0]))
        assert [(source["source"], source["rows"]) for source in cluster["sources"]] == counts[:3]
    assert found["all"]["losses"] == pytest.approx(np.mean(list(every.values()), axis=0))
    assert (found["all"]["size"], found["all"]["drawn"]) == (148, sum(row["kept"] for row in rows))


@pytest.mark.parametrize("sort", SORTS)
def test_they_are_sorted_by_any_figure_either_way_and_cut(toy_run: Path, sort: str) -> None:
    found = clusters(toy_run, sort=sort)["clusters"]
    values = [cluster[sort] for cluster in found]
    assert values == sorted(values)
    turned = clusters(toy_run, sort=sort, reverse=True, most=3)
    assert turned["clusters"] == found[::-1][:3]
    assert turned["of"] == len(found)


def test_what_cannot_be_sorted_by_or_has_no_clusters_is_one_line(toy_run: Path) -> None:
    with pytest.raises(SettingsError, match=r"--sort 'colour': there are: number, size, "):
        clusters(toy_run, sort="colour")
    with pytest.raises(SettingsError, match="'random-11pct' was not drawn from clusters; name another: s2l-11pct"):
        clusters(toy_run, subset="random-11pct")


def test_a_run_without_any_clusters_says_how_to_make_some(own_run: Path) -> None:
    assert s2l("select", own_run, "--budget", "7", "--method", "el2n").code == 0
    assert clusters(own_run)["subset"] == "s2l-11pct"
    for path in (own_run / "subsets/s2l-11pct").iterdir():
        path.unlink() if path.is_file() else None
    with pytest.raises(SettingsError, match=r"draw one by them: s2l select RUN --budget 11%"):
        clusters(own_run)


def test_one_cluster_and_other_groups_are_clusters_too(own_run: Path) -> None:
    for words in (("--set", "clusters=1"), ("--method", "ccs"), ("--method", "balanced-random")):
        assert s2l("select", own_run, "--budget", "9", *words).code == 0
    sizes = [cluster["size"] for cluster in clusters(own_run, subset="balanced-random-9")["clusters"]]
    assert sum(sizes) == 148
    assert sum(cluster["drawn"] for cluster in clusters(own_run, subset="ccs-9")["clusters"]) == 9


def test_a_checkpoint_before_training_is_not_the_first_of_training(own_run: Path) -> None:
    from s2l.look.opened import open_run

    run = open_run(own_run)
    assert run.first == 0
    object.__setattr__(run.trajectories, "steps", (0, *run.trajectories.steps[1:]))
    assert run.first == 1
