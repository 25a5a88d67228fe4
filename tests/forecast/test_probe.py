"""How a pace is read from reports that are made up: 2 seconds a token, 3 seconds a checkpoint."""

import pytest

from s2l.config import ProxySettings
from s2l.forecast.probe import of_steps, settled_plan
from s2l.forecast.watch import Watch


def test_the_first_gap_is_left_out_and_saving_is_told_from_training() -> None:
    watch = Watch(seconds=[9.0, 90.0, 94.0, 105.0, 109.0], units=[1, 2, 2, 4, 2], total=115.0)
    assert of_steps(watch, first_save=5) == (2.0, 3.0)


def test_with_one_checkpoint_what_follows_the_last_step_is_its_saving() -> None:
    watch = Watch(seconds=[9.0, 90.0, 94.0], units=[1, 2, 2], total=97.0)
    assert of_steps(watch, first_save=5) == (2.0, 3.0)


def test_a_single_step_has_nothing_to_warm_up_with() -> None:
    assert of_steps(Watch(seconds=[4.0], units=[2], total=7.0), first_save=2) == (2.0, 3.0)


@pytest.mark.parametrize(("rows", "batch_size", "steps"), [(100, 32, 12), (5, 5, 3)])
def test_a_pool_smaller_than_a_batch_is_one_batch(rows: int, batch_size: int, steps: int) -> None:
    plan = settled_plan(rows, ProxySettings(model="builtin"), seed=0)
    assert (plan.batch_size, plan.steps) == (batch_size, steps)


def test_a_watch_notes_what_a_stage_reports() -> None:
    with Watch() as watch, watch.stage("train", 3, "tokens") as advance:
        advance(1)
        advance(2)
    assert watch.units == [1, 2]
    assert 0 <= watch.seconds[0] <= watch.seconds[1] <= watch.total
