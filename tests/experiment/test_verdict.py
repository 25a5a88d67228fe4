"""Words are chosen by the intervals alone; costs and where they pay by their formulas; pages and pictures are safe."""

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2l.experiment.costs import ProxyCost, pays_from, selection_cost
from s2l.experiment.outcomes import outcome, outcomes_of
from s2l.experiment.report import _payoffs
from s2l.experiment.statistics import Estimate
from s2l.experiment.svg import Figure, Scale, number, spanning
from s2l.experiment.tables import plain
from s2l.experiment.verdict import against, other_tokens, payoff, shared_proxies

LOSS, ACCURACY = outcome("heldout.macro"), outcome("tasks.gsm8k")


def said(mean, low, high, of=LOSS, seeds=(0, 1, 2, 3, 4), missing=()):
    return against("random", Estimate(mean, low, high, 0.0, seeds, missing), of, undecided="no better than random")


def test_a_loss_below_randoms_is_better():
    assert said(-0.012, -0.020, -0.004) == "better than random by 0.0120 nats (95 % CI 0.0040 to 0.0200, 5 seeds)"


def test_a_loss_above_randoms_is_worse():
    assert said(0.012, 0.004, 0.020) == "worse than random by 0.0120 nats (95 % CI 0.0040 to 0.0200, 5 seeds)"


def test_an_accuracy_above_randoms_is_better_and_told_in_points():
    assert said(0.025, 0.01, 0.04, ACCURACY) == "better than random by 2.50 points (95 % CI 1.00 to 4.00, 5 seeds)"


def test_an_interval_that_holds_zero_decides_nothing_however_large_the_mean():
    words = said(-0.5, -1.1, 0.1)
    assert words == "no better than random, gain +0.5000 nats (95 % CI -0.1000 to +1.1000, 5 seeds)"


@given(st.floats(-1, 1), st.floats(0, 1))
def test_the_words_follow_the_interval(mean, reach):
    words = said(mean, mean - reach, mean + reach)
    start = "better" if mean + reach < 0 else "worse" if mean - reach > 0 else "no better"
    assert words.startswith(f"{start} than random")


def test_one_seed_decides_nothing_and_missing_seeds_are_named():
    assert said(-0.5, None, None, seeds=(0,)) == "nothing can be said against random: one seed has no interval"
    assert said(-0.1, -0.2, -0.05, seeds=(0, 2), missing=(1, 3)).endswith("2 seeds; seeds 1, 3 missing)")
    assert "no seed has both" in against("random", None, LOSS, undecided="")


def test_tokens_that_rows_of_a_method_have_more_are_told():
    assert other_tokens("s2l at 11%", 101.0, 100.0) is None
    assert "s2l at 11%: its rows are longer than random ones, so training reads 9% more" in str(
        other_tokens("s2l at 11%", 109.0, 100.0)
    )
    assert "shorter than random ones, so training reads 10% fewer" in str(other_tokens("k", 90.0, 100.0))


def test_shared_proxies_are_told():
    assert shared_proxies(5, 5) is None
    assert "5 seeds share 2 proxies" in shared_proxies(5, 2)


@given(st.floats(0.01, 100), st.floats(0.01, 100), st.floats(0.01, 0.99), st.integers(10, 10**6))
def test_from_the_rows_told_on_selecting_costs_less(per_row_selecting, per_row_training, share, rows):
    chosen = share * rows
    found = pays_from(per_row_selecting * rows, per_row_training * chosen, per_row_training * rows, rows)
    if per_row_selecting >= per_row_training:
        assert found is None or found > 1e12
    else:
        for pool in (0.99 * found, 1.01 * found):
            selecting, full = per_row_selecting * pool + per_row_training * chosen, per_row_training * pool
            assert (selecting < full) == (pool > found)


def test_the_payoff_in_words():
    assert payoff(None, 10, 100, "FLOPs").startswith("never cheaper than full training of this target in FLOPs")
    assert payoff(3900.2, 2200, 20000, "FLOPs") == (
        "cheaper than full training of this target from 3,900 rows on in FLOPs, "
        "with 2,200 rows chosen: cheaper here (20,000 rows)"
    )
    assert "dearer here" in payoff(30000, 2200, 20000, "seconds")


def test_equal_steps_never_pay_in_training():
    matched = {"target": "t", "method": "s2l", "budget": "11%", "seeds": [0], "missing": [], "outcomes": {}}
    entry = matched | {"matching": "steps", "training": {"rows": 11, "flops": 9.0, "seconds": 9.0}}
    entry["selection"] = {"flops": 1.0, "seconds": 1.0}
    full = entry | {"method": "full", "matching": "epochs", "training": {"rows": 100, "flops": 9.0, "seconds": 9.0}}
    (line,) = _payoffs(entry, full)
    assert line.startswith("never cheaper")
    assert len(_payoffs(entry | {"matching": "epochs"}, full)) == 2


PROXY = ProxyCost(
    steps=(10, 20, 30, 40), rows=50, training=900.0, forward=100.0, train_seconds=40.0, record_seconds=8.0
)


def test_selection_costs_by_hand():
    s2l = selection_cost(PROXY, "s2l", {}, PROXY.steps, 5, 1.0)
    assert (s2l.train_flops, s2l.record_flops, s2l.flops, s2l.seconds) == (900, 400, 1300, 49)
    early = selection_cost(PROXY, "s2l", {}, (10, 20), 5, 1.0)
    assert (early.train_flops, early.record_flops, early.train_seconds, early.record_seconds) == (450, 200, 20, 4)
    late = selection_cost(PROXY, "middle-perplexity", {}, PROXY.steps, 5, 0.5)
    assert (late.train_flops, late.record_flops) == (900, 100)
    assert selection_cost(PROXY, "random", {}, PROXY.steps, 5, 0.5).seconds == 0.5


@pytest.mark.parametrize("seen", [PROXY.steps, (10, 20)])
def test_training_in_rounds_costs_what_its_rows_do_and_its_seconds_are_the_draws(seen):
    thirds = selection_cost(PROXY, "diverse-evol", {"rounds": 3}, seen, 5, 7.0)
    assert thirds.train_flops == pytest.approx(900 * (1 / 3 + 2 / 3) * 5 / 50)
    assert (thirds.train_seconds, thirds.record_seconds, thirds.seconds) == (0, 0, 7)


def test_outcomes_of_an_evaluation():
    found = outcomes_of(
        {
            "heldout": {"macro": 1.5, "loss_per_token": 1.2, "rows": 3},
            "tasks": {"gsm8k": {"accuracy": 0.2, "n": 5}, "svamp": {"accuracy": 0.4, "n": 5}},
            "summaries": {"n": 3, "rouge_l": 0.3, "bleu": 12.0, "bertscore": None},
        }
    )
    assert found == {
        "heldout.macro": 1.5,
        "heldout.loss_per_token": 1.2,
        "tasks.mean": pytest.approx(0.3),
        "tasks.gsm8k": 0.2,
        "tasks.svamp": 0.4,
        "summaries.rouge_l": 0.3,
        "summaries.bleu": 12.0,
    }
    assert outcomes_of({"heldout": None, "tasks": {}, "summaries": None}) == {}


def test_words_mean_nothing_in_markdown():
    assert plain("a|b <i>\n*c*\u202e") == "a\\|b \\<i\\>\\\\n\\*c\\*\\\\u202e"


def test_a_picture_is_xml_whatever_its_words():
    figure = Figure("<&\">'", 10, 10)
    figure.text(1, 2, "</text><script>alert(1)</script>")
    figure.dot(1, 2, "red")
    root = ET.fromstring(figure.page())
    assert not root.findall(".//{http://www.w3.org/2000/svg}script")
    assert root.find(".//{http://www.w3.org/2000/svg}text").text == "</text><script>alert(1)</script>"


def test_a_picture_holds_no_character_that_xml_or_utf8_has_not():
    figure = Figure("\x1b[31m", 10, 10)
    figure.text(1, 2, "\ud800 and \x00")
    root = ET.fromstring(figure.page().encode("utf-8"))
    assert root.get("aria-label") == "\\x1b[31m"
    assert root.find(".//{http://www.w3.org/2000/svg}text").text == "\\ud800 and \\x00"


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_within_and_told_apart(low, width):
    scale = Scale(low, low + width, 0, 100)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 6
    assert all(-1e-3 <= scale(tick) <= 100.001 for tick in ticks)
    step = ticks[1] - ticks[0]
    assert [float(number(tick, step)) for tick in ticks] == pytest.approx(ticks, abs=step / 100)


def test_a_scale_of_equal_values_has_room():
    scale = spanning([2.0, 2.0], 0, 100)
    assert scale(2.0) == pytest.approx(50)
