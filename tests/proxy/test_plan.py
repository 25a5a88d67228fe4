"""The plan of a training: when to save, and which rows make up every global batch."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2l.config import ProxySettings
from s2l.proxy.checkpoints import schedule
from s2l.proxy.plan import Plan, global_batches, make_plan


def plan_of(rows: int, seed: int = 0, **settings) -> Plan:
    chosen = ProxySettings(**{"model": "builtin"} | settings)
    return make_plan(rows, chosen, batch_tokens=2048, threads=2, device="cpu", seed=seed)


def ids_of(rows: int) -> np.ndarray:
    return np.array([b"%024x" % (31 * i) for i in range(rows)], dtype="S24")


@given(total=st.integers(1, 10**6), checkpoints=st.integers(1, 1000))
def test_checkpoints_stand_at_equal_fractions_and_the_last_step_is_one(total: int, checkpoints: int) -> None:
    steps = schedule(total, checkpoints)
    assert len(steps) == min(total, checkpoints)
    assert steps[-1] == total
    assert np.all(np.diff((0, *steps)) > 0)
    assert all(abs(step - total * (k + 1) / len(steps)) <= 0.5 for k, step in enumerate(steps))


def test_five_of_twelve_are_five():
    assert schedule(12, 5) == (2, 5, 7, 10, 12)


@given(rows=st.integers(1, 60), batch=st.integers(1, 70), epochs=st.sampled_from([1, 2, 3]), seed=st.integers(0, 9))
def test_every_epoch_sees_each_row_once(rows: int, batch: int, epochs: int, seed: int) -> None:
    plan = plan_of(rows, seed, batch_size=batch, epochs=epochs)
    batches = global_batches(ids_of(rows), plan)
    assert len(batches) == plan.steps == plan.saves[-1]
    per_epoch = plan.steps // epochs
    for epoch in range(epochs):
        seen = np.concatenate(batches[epoch * per_epoch : (epoch + 1) * per_epoch])
        assert sorted(seen.tolist()) == list(range(rows))


def test_the_order_hangs_on_ids_and_seed_alone():
    ids, plan = ids_of(40), plan_of(40, batch_size=8)
    first, again = ([ids[rows].tolist() for rows in global_batches(ids, plan)] for _ in range(2))
    assert first == again
    fewer = np.delete(ids, 3)
    order, shorter = (
        np.concatenate(global_batches(some, replace(plan, batch_size=40, steps=1))) for some in (ids, fewer)
    )
    assert [id_ for id_ in ids[order].tolist() if id_ != ids[3]] == fewer[shorter].tolist()
    assert first != [ids[rows].tolist() for rows in global_batches(ids, replace(plan, seed=1))]


def test_epochs_differ_in_order():
    batches = global_batches(ids_of(30), plan_of(30, batch_size=30, epochs=2))
    assert batches[0].tolist() != batches[1].tolist()


@pytest.mark.parametrize(("epochs", "steps"), [(0.5, 5), (1.5, 15), (0.01, 1), (2.26, 23)])
def test_a_fraction_of_an_epoch_is_that_many_steps(epochs: float, steps: int) -> None:
    plan = plan_of(100, batch_size=10, epochs=epochs)
    batches = global_batches(ids_of(100), plan)
    assert len(batches) == plan.steps == steps
    whole = global_batches(ids_of(100), plan_of(100, batch_size=10, epochs=3))
    assert [rows.tolist() for rows in batches] == [rows.tolist() for rows in whole[:steps]]


def test_defaults_are_the_papers_for_a_pretrained_proxy():
    plan = plan_of(262_039, model="EleutherAI/pythia-70m-deduped")
    assert (plan.batch_size, plan.learning_rate, plan.weight_decay, plan.epochs) == (128, 2e-5, 0.0, 3.0)
    assert plan.steps == 3 * 2048
    assert plan.warmup_steps == 185
    assert len(plan.saves) == 12
    assert plan_of(10, learning_rate=1.0, batch_size=5).learning_rate == 1.0


def test_fewer_steps_than_checkpoints_give_as_many_as_steps():
    assert plan_of(10, batch_size=10, epochs=3).saves == (1, 2, 3)


def test_a_plan_survives_json():
    for plan in (plan_of(100), plan_of(100).halved_at(7).halved_at(7).halved_at(9)):
        assert Plan.from_json(json.loads(json.dumps(plan.as_json()))) == plan


def test_a_halving_holds_from_its_step_on_whenever_it_was_found():
    plan = replace(plan_of(100), batch_tokens=100).halved_at(7).halved_at(7)
    assert [plan.batch_tokens_at(step) for step in (0, 6, 7, 8)] == [100, 100, 25, 25]
    resumed_from_an_earlier_state = plan.halved_at(3)
    assert [resumed_from_an_earlier_state.batch_tokens_at(step) for step in (2, 3, 6, 7)] == [100, 50, 50, 25]
