"""Groups of cells against naive figures: means, pairs by seed, who is compared with whom, what is missing."""

import random
from pathlib import Path

import numpy as np
import pytest
from experiment_toys import settings_of
from scipy import stats

from s2l.experiment.cells import ALL, Cell, cells_of
from s2l.experiment.comparison import compared
from s2l.experiment.plots import plots
from s2l.experiment.report import summarised

POOL = Path("pool.jsonl")
BLOCKS = [{"budgets": ["20%", "50%"]}, {"budgets": ["20%"], "methods": ["s2l", "random"], "matching": "steps"}]


def made_up(settings, seed=0):
    """Results with losses drawn at random, in random order."""
    rng = random.Random(seed)
    cells = cells_of(settings)
    rng.shuffle(cells)
    return {
        cell: {
            "training": {"rows": 54, "steps": 2, "epochs": 1.0, "tokens_seen": 500, "seconds": 3.0, "flops": 1e9},
            "selection": None if cell.label == "full" else {"flops": 1e8, "seconds": 2.0 + cell.seed},
            "evaluation": {"heldout": {"macro": rng.gauss(2, 0.1), "loss_per_token": 1.0}},
        }
        for cell in cells
    }


def group(entries, **keys):
    (found,) = [entry for entry in entries if all(entry[key] == value for key, value in keys.items())]
    return found


def losses(results, *key):
    return [results[Cell("tiny", *key, seed)]["evaluation"]["heldout"]["macro"] for seed in range(4)]


@pytest.mark.parametrize("matching", ["epochs", "steps"])
def test_differences_are_those_of_a_paired_t_test(matching):
    settings = settings_of(POOL, seeds=4, blocks=BLOCKS)
    results = made_up(settings)
    entry = group(compared(settings, results), method="s2l", budget="20%", matching=matching)
    ours = losses(results, "s2l", "20%", matching)
    for other, theirs in (
        ("to_random", losses(results, "random", "20%", matching)),
        ("to_full", losses(results, "full", ALL, "epochs")),
    ):
        told, test = entry["outcomes"]["heldout.macro"][other], stats.ttest_rel(ours, theirs)
        interval = test.confidence_interval(0.95)
        assert told["mean"] == pytest.approx(np.mean(np.subtract(ours, theirs)))
        assert (told["low"], told["high"]) == pytest.approx((interval.low, interval.high))
        assert (told["low"] > 0 or told["high"] < 0) == (test.pvalue < 0.05)
    assert entry["outcomes"]["heldout.macro"]["value"]["mean"] == pytest.approx(np.mean(ours))
    assert entry["selection"]["seconds"] == 3.5


def test_the_order_of_results_does_not_matter():
    settings = settings_of(POOL, seeds=3)
    results = made_up(settings)
    assert compared(settings, results) == compared(settings, dict(reversed(list(results.items()))))


def test_what_is_compared_with_itself_or_never_was_has_no_difference():
    settings = settings_of(POOL)
    entries = compared(settings, made_up(settings))
    alone = group(entries, method="random", budget="20%")["outcomes"]["heldout.macro"]
    assert alone["to_random"] is None and alone["to_full"] is not None
    full = group(entries, method="full")["outcomes"]["heldout.macro"]
    assert full["to_random"] is None and full["to_full"] is None


def test_a_missing_cell_is_named_and_its_seed_left_out_of_the_pair_alone():
    settings = settings_of(POOL, seeds=4)
    results = made_up(settings)
    del results[Cell("tiny", "random", "20%", "epochs", 2)]
    entries = compared(settings, results)
    measured = group(entries, method="s2l", budget="20%")["outcomes"]["heldout.macro"]
    assert measured["value"]["seeds"] == [0, 1, 2, 3]
    assert (measured["to_random"]["seeds"], measured["to_random"]["missing"]) == ([0, 1, 3], [2])
    assert group(entries, method="random", budget="20%")["missing"] == [2]
    found = summarised(settings, results, {}, None)
    assert "seed 2 missing" in found["verdict"]["lines"][0]
    assert any("not done yet: 1 of the cells" in note for note in found["verdict"]["notes"])


def test_pictures_are_drawn_from_whatever_is_done():
    settings = settings_of(POOL, seeds=2, blocks=BLOCKS)
    results = made_up(settings)
    assert set(plots(summarised(settings, results, {}, None))) == {"budgets.svg", "differences.svg", "costs.svg"}
    some = {cell: result for cell, result in results.items() if cell.seed == 0 and cell.label != "random"}
    assert "budgets.svg" in plots(summarised(settings, some, {}, None))
    assert plots(summarised(settings, {}, {}, None)) == {}
