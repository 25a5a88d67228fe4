"""Training the proxy: the loss, the steps, going on after a stop, and what it leaves alone."""

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from transformers import PreTrainedModel, Trainer
from transformers.utils import logging as transformers_logging

from s2l.errors import MachineError, NumericsError
from s2l.progress import SILENT, Progress
from s2l.proxy import checkpoints
from s2l.proxy.plan import Plan, global_batches
from s2l.proxy.ranks import ALONE
from s2l.proxy.step import Stepper
from s2l.proxy.train import RESUME, train
from toy_models import loss_of_one_row, toy_model, toy_tokens
from toy_runs import StopAfter

TOKENS = toy_tokens(40)
PLAN = Plan(
    steps=10,
    saves=(3, 7, 10),
    batch_size=8,
    epochs=2.0,
    learning_rate=1e-3,
    weight_decay=0.0,
    warmup_steps=2,
    batch_tokens=100,
    threads=2,
    device="cpu",
    precision="float32",
    seed=1,
)


def trained(folder: Path, architecture: str = "builtin", progress: Progress = SILENT, **changes) -> list[str]:
    """Digests of the checkpoints."""
    plan = replace(PLAN, workers=2 if architecture == "builtin" else 1, **changes)
    return [found.sha256 for found in train(toy_model(architecture), TOKENS, plan, folder, progress)]


def weights_of(model: PreTrainedModel) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.fixture(scope="module", params=["builtin", "gpt2"])
def unstopped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    """The built-in model on two workers; GPT-2 has dropout, so its steps also draw from the global generator."""
    return request.param, trained(tmp_path_factory.mktemp("unstopped"), request.param)


def test_checkpoints_are_saved_at_the_planned_steps(unstopped) -> None:
    _, digests = unstopped
    assert len(set(digests)) == len(PLAN.saves)


@pytest.mark.parametrize("stops", [[1], [2], [3], [4], [9], [5, 0, 3], [3, 3, 1, 2]])
def test_a_stopped_training_goes_on_to_the_same_bits(unstopped, stops: list[int], tmp_path: Path) -> None:
    architecture, digests = unstopped
    for steps in stops:
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path, architecture, StopAfter(steps))
    assert trained(tmp_path, architecture) == digests


@pytest.mark.parametrize("place", ["_save_checkpoint", "_save_optimizer_and_scheduler", "_save_rng_state"])
def test_a_stop_while_the_resume_state_is_written_loses_only_steps(
    unstopped, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    architecture, digests = unstopped
    write, calls = getattr(Trainer, place), []

    def stop_at_the_second(trainer: Trainer, *args: object, **kwargs: object) -> None:
        calls.append(place)
        if len(calls) == 2:
            raise KeyboardInterrupt
        write(trainer, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, place, stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path, architecture)
    assert checkpoints.find(tmp_path, 7) is not None
    assert trained(tmp_path, architecture) == digests


@pytest.mark.parametrize("state", [None, "", '{"global_step": 9', "[]", "{}", '{"global_step": 8}'])
def test_an_unfinished_resume_state_is_removed_and_the_one_before_used(state: str | None, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, progress=StopAfter(8))
    unfinished = tmp_path / RESUME / "checkpoint-9"
    unfinished.mkdir()
    (unfinished / "model.safetensors").write_bytes(b"half")
    if state is not None:
        (unfinished / "trainer_state.json").write_text(state)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, progress=StopAfter(2))
    assert not unfinished.exists()
    assert (tmp_path / RESUME / "checkpoint-7").is_dir()


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    digests = trained(tmp_path)
    assert trained(tmp_path, progress=StopAfter(0)) == digests


def test_only_one_resume_state_is_kept(tmp_path: Path) -> None:
    trained(tmp_path)
    assert [path.name for path in (tmp_path / RESUME).iterdir()] == ["checkpoint-10"]


def test_how_a_global_batch_is_cut_does_not_matter(tmp_path: Path) -> None:
    models = [toy_model() for _ in range(3)]
    for model, batch_tokens in zip(models, (1, 100, 10**6), strict=True):
        plan = replace(PLAN, steps=5, saves=(5,), batch_tokens=batch_tokens)
        train(model, TOKENS, plan, tmp_path / str(batch_tokens), SILENT)
    first, *others = map(weights_of, models)
    assert all(torch.allclose(first, other, atol=1e-5, rtol=0) for other in others)


def by_hand(model: PreTrainedModel, plan: Plan) -> list[float]:
    """Row after row, plain AdamW, clipped at norm 1, a linear warm-up and half a cosine; the loss of each step."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.learning_rate, weight_decay=0.0)
    losses = []
    for step, rows in enumerate(global_batches(TOKENS.ids, plan)):
        after = (step - plan.warmup_steps) / (plan.steps - plan.warmup_steps)
        share = step / plan.warmup_steps if after < 0 else 0.5 * (1 + math.cos(math.pi * after))
        optimizer.param_groups[0]["lr"] = plan.learning_rate * share
        nll = torch.zeros(())
        for row in rows:
            span = slice(*TOKENS.start_N[row : row + 2])
            input_ids = torch.from_numpy(TOKENS.input_ids[span].astype(np.int64))[None]
            counted = torch.from_numpy(TOKENS.counted[span])[None]
            labels = input_ids.masked_fill(~counted, -100)
            nll = nll + model(input_ids=input_ids, labels=labels).loss * counted.sum()
        loss = nll / TOKENS.response_lengths[rows].sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("architecture", ["builtin", "llama-tied", "gemma2-soft-capped"])
def test_training_equals_a_loop_written_by_hand(architecture: str, tmp_path: Path) -> None:
    ours, theirs = toy_model(architecture), toy_model(architecture)
    train(ours, TOKENS, PLAN, tmp_path, SILENT)
    losses = by_hand(theirs, PLAN)
    assert torch.allclose(weights_of(ours), weights_of(theirs), atol=1e-5, rtol=0)
    assert losses[-1] < losses[0]


def test_the_loss_of_a_step_is_the_sum_over_the_sum_of_tokens(tmp_path: Path) -> None:
    rows = np.array([0, 5, 17, 21, 33])
    model = toy_model()
    nll = sum(loss_of_one_row(model, TOKENS, row) * TOKENS.response_lengths[row] for row in rows)
    stepper = Stepper(model, TOKENS, replace(PLAN, steps=1), ALONE)
    stepper.batches = [rows]
    loss = stepper.lead(0, 100)
    assert loss.item() == pytest.approx(nll / TOKENS.response_lengths[rows].sum(), abs=1e-5)


def test_bfloat16_trains_and_its_checkpoints_are_float32(tmp_path: Path) -> None:
    model = toy_model()
    before = loss_of_one_row(model, TOKENS, 0)
    found = train(model, TOKENS, replace(PLAN, precision="bfloat16"), tmp_path, SILENT)
    loaded = checkpoints.load_model(found[-1], torch.device("cpu"))
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert loss_of_one_row(loaded, TOKENS, 0) < before


def test_the_global_generators_are_left_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # beartype draws which items of a list to check
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    trained(tmp_path, "gpt2")
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_what_the_generators_held_before_does_not_matter(unstopped, tmp_path: Path) -> None:
    architecture, digests = unstopped
    with torch.random.fork_rng():
        torch.manual_seed(99)
        assert trained(tmp_path, architecture) == digests


def test_a_loss_that_is_not_finite_is_one_line(tmp_path: Path) -> None:
    model = toy_model()
    with torch.no_grad():
        model.get_output_embeddings().weight[3] = float("nan")
    with pytest.raises(NumericsError, match=r"^the proxy's training loss is not a finite number at step 1; [^\n]*$"):
        train(model, TOKENS, PLAN, tmp_path, SILENT)
    assert not list(tmp_path.glob("step-*"))


def test_a_full_disk_while_the_resume_state_is_written_is_one_line(tmp_path: Path, full_disk) -> None:
    with full_disk(800_000), pytest.raises(MachineError, match=r"no room on the disk; nothing is lost"):
        trained(tmp_path)
    assert trained(tmp_path) == trained(tmp_path / "again")


def test_nothing_is_printed_and_the_users_settings_come_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    transformers_logging.set_verbosity_info()
    try:
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path, progress=StopAfter(5))
        trained(tmp_path)
        assert transformers_logging.get_verbosity() == transformers_logging.INFO
        assert transformers_logging.set_tqdm_hook(None) is None
    finally:
        transformers_logging.set_verbosity_warning()
    assert capfd.readouterr() == ("", "")


def test_progress_is_told_every_token_once(tmp_path: Path) -> None:
    told: list[int] = []

    class Told(StopAfter):
        @contextmanager
        def stage(self, name: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
            told.append(-(total or 0))
            yield told.append

    trained(tmp_path, progress=Told(0))
    assert told[0] == -2 * TOKENS.lengths.sum()
    assert sum(told) == 0
