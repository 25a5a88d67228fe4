"""Groups of cells against naive figures: means, pairs by seed, who is compared with whom, what is missing."""

import math
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
from s2l.experiment.tables import markdown

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
            "evaluation": {
                "heldout": {
                    "macro": rng.gauss(2, 0.1),
                    "loss_per_token": 1.0,
                    "by_source": {
                        source: {"loss": rng.gauss(mean, 0.1), "rows": 3, "tokens": 30}
                        for source, mean in (("hard", 3.0), ("easy", 1.0), ("a|b `c` <i>", 2.0))
                    },
                }
            },
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
    assert entry["outcomes"]["heldout.macro"]["to_primary"] is None
    mirrored = group(compared(settings, results), method="random", budget="20%", matching=matching)
    told = mirrored["outcomes"]["heldout.macro"]["to_primary"]
    assert told["mean"] == pytest.approx(np.mean(losses(results, "random", "20%", matching)) - np.mean(ours))


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
    found = summarised(settings, results, {}, None, {})
    assert "seed 2 missing" in found["verdict"]["lines"][0]
    assert any("not done yet: 1 of the cells" in note for note in found["verdict"]["notes"])


def test_pictures_are_drawn_from_whatever_is_done():
    settings = settings_of(POOL, seeds=2, blocks=BLOCKS)
    results = made_up(settings)
    drawn = plots(summarised(settings, results, {}, None, {}))
    assert set(drawn) == {"budgets.svg", "differences.svg", "sources.svg", "costs.svg"}
    some = {cell: result for cell, result in results.items() if cell.seed == 0 and cell.label != "random"}
    assert "budgets.svg" in plots(summarised(settings, some, {}, None, {}))
    assert plots(summarised(settings, {}, {}, None, {})) == {}


def test_a_sources_gain_is_that_of_a_paired_t_test_and_the_largest_comes_first():
    settings = settings_of(POOL, seeds=4, blocks=BLOCKS)
    results = made_up(settings)
    found = summarised(settings, results, {}, None, {})
    sources = found["sources"]
    assert {one["source"] for one in sources} == {"hard", "easy", "a|b `c` <i>"}
    assert [one["to_random"]["mean"] for one in sources] == sorted(one["to_random"]["mean"] for one in sources)
    for one in sources:
        ours, theirs, full = (
            [
                results[Cell("tiny", *key, seed)]["evaluation"]["heldout"]["by_source"][one["source"]]["loss"]
                for seed in range(4)
            ]
            for key in (("s2l", "20%", "epochs"), ("random", "20%", "epochs"), ("full", ALL, "epochs"))
        )
        interval = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
        assert (one["to_random"]["low"], one["to_random"]["high"]) == pytest.approx((interval.low, interval.high))
        for label, values in (("s2l", ours), ("random", theirs), ("full", full)):
            assert one["values"][label]["mean"] == pytest.approx(np.mean(values))
    assert "sources.svg" in plots(found)
    page = markdown(found, [])
    rows = [line for line in page[page.index("## By source") :].splitlines() if line.startswith("| a")]
    assert len(rows) == 1 and rows[0].startswith(r"| a\|b \`c\` \<i\> | 3 | 30 | – | – | ")


def test_a_source_that_a_seed_lacks_is_left_out_of_that_pair():
    settings = settings_of(POOL, seeds=4)
    results = made_up(settings)
    primary = Cell("tiny", "s2l", settings.primary.budget, "epochs", 2)
    del results[primary]["evaluation"]["heldout"]["by_source"]["easy"]
    easy = next(one for one in summarised(settings, results, {}, None, {})["sources"] if one["source"] == "easy")
    assert easy["to_random"]["seeds"] == [0, 1, 3] and easy["to_random"]["missing"] == [2]


def test_sources_of_few_held_out_rows_are_named_and_left_out_of_a_second_mean():
    settings = settings_of(POOL, seeds=4)
    results = made_up(settings)
    assert summarised(settings, results, {}, None, {})["large_sources"] is None, "all of them have few"
    for result in results.values():
        for source, rows in (("easy", 30), ("hard", 200)):
            result["evaluation"]["heldout"]["by_source"][source]["rows"] = rows
    found = summarised(settings, results, {}, None, {})
    ours, theirs = (
        [
            np.mean(
                [
                    results[Cell("tiny", label, settings.primary.budget, "epochs", seed)]["evaluation"]["heldout"][
                        "by_source"
                    ][source]["loss"]
                    for source in ("easy", "hard")
                ]
            )
            for seed in range(4)
        ]
        for label in ("s2l", "random")
    )
    interval = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    entry = group(found["groups"], method="s2l", budget=settings.primary.budget)
    told = entry["outcomes"]["heldout.macro_large"]["to_random"]
    assert found["large_sources"] == {"rows": 30, "sources": 2, "of": 3}
    assert (told["low"], told["high"]) == pytest.approx((interval.low, interval.high))
    (note,) = [note for note in found["verdict"]["notes"] if "held-out rows" in note]
    assert "1 of 3 sources have fewer than 30 held-out rows" in note and "without them no better than random" in note


def test_a_gain_that_goes_with_the_rows_taken_of_each_source_is_named():
    settings = settings_of(POOL, seeds=2)
    results = made_up(settings)
    taken = {"a": 40, "b": 20, "c": 10, "d": 5, "e": 3}
    for cell, result in results.items():
        ours = cell.label == "s2l"
        result["subset"] = {"rows_by_source": taken | {"e": 0} if ours else dict.fromkeys(taken, 10)}
        result["evaluation"]["heldout"]["by_source"] = {
            source: {"loss": 2.0 - 0.1 * rows / 10 * ours, "rows": 3, "tokens": 30} for source, rows in taken.items()
        }
    found = summarised(settings, results, {}, None, {})
    assert {one["source"]: one["chosen"] for one in found["sources"]}["e"] == {"s2l": 0.0, "random": 10.0}
    ratios, differences = [math.log(rows / 10) for rows in (40, 20, 10, 5)], [-0.4, -0.2, -0.1, -0.05]
    assert found["mixture"]["sources"] == 4, "of e the method takes none"
    assert found["mixture"]["correlation"] == pytest.approx(np.corrcoef(ratios, differences)[0, 1])
    assert any("over 4 sources its gain goes with the rows that it takes" in note for note in found["verdict"]["notes"])
    assert "| a | 3 | 30 | 40 | 10 | 1.6000 |" in markdown(found, [])


def test_one_source_alone_has_no_table_and_no_picture():
    settings = settings_of(POOL, seeds=2)
    results = made_up(settings)
    for result in results.values():
        result["evaluation"]["heldout"]["by_source"] = {"all": {"loss": 1.0, "rows": 3, "tokens": 30}}
    found = summarised(settings, results, {}, None, {})
    assert "## By source" not in markdown(found, []) and "sources.svg" not in plots(found)
