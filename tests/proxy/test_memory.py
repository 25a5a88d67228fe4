"""Running out of memory: smaller batches from that step on, written down, replayed, and one line at the end."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from s2l.config import ProxySettings
from s2l.errors import MachineError
from s2l.files import read_json
from s2l.progress import SILENT
from s2l.proxy.memory import enough_memory, is_out_of_memory
from s2l.proxy.plan import PLAN as PLAN_FILE
from s2l.proxy.plan import Plan, make_plan
from s2l.proxy.train import train
from toy_models import toy_model, toy_tokens

TOKENS = toy_tokens(40)
SETTINGS = ProxySettings(model="builtin", batch_size=8, epochs=2, learning_rate=1e-3, checkpoints=2)
PLAN: Plan = make_plan(40, SETTINGS, batch_tokens=400, threads=1, device="cpu", seed=0)
ERRORS = {
    "gpu": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "cpu": RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to …"),
}


@contextmanager
def memory_for(model: PreTrainedModel, tokens: int, since: int = 0, kind: str = "gpu") -> Iterator[list[int]]:
    """From pass number `since` of training on, the model's device has memory for so many padded tokens at once."""
    passes: list[int] = []

    def allocate(module: torch.nn.Module, given: tuple, named: dict[str, torch.Tensor]) -> None:
        asked, done = (given[0] if given else named["input_ids"]).numel(), len(passes)
        passes.extend([asked] * module.training)
        if asked > tokens and done >= since:
            raise ERRORS[kind]

    hook = model.base_model.register_forward_pre_hook(allocate, with_kwargs=True)
    yield passes
    hook.remove()


def trained(model: PreTrainedModel, folder: Path, plan: Plan = PLAN) -> list[str]:
    return [found.sha256 for found in train(model, TOKENS, plan, folder, SILENT)]


def stored(folder: Path) -> Plan:
    return Plan.from_json(read_json(folder / PLAN_FILE))


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("workers", [1, 2])
def test_the_step_is_done_again_with_half_the_tokens_at_once(kind: str, workers: int, tmp_path: Path) -> None:
    model, undisturbed = toy_model(), toy_model()
    plan = replace(PLAN, workers=workers)
    with memory_for(model, 120, since=6, kind=kind):
        trained(model, tmp_path / "short of memory", plan)
    found = stored(tmp_path / "short of memory")
    assert found.batch_tokens == 400
    ((first, then), *_) = found.halvings
    assert 0 < first < PLAN.steps
    assert then == 200
    assert found.batch_tokens_at(first - 1) == 400
    assert found.batch_tokens_at(PLAN.steps) <= 200
    trained(undisturbed, tmp_path / "undisturbed", plan)
    for own, other in zip(model.parameters(), undisturbed.parameters(), strict=True):
        torch.testing.assert_close(own, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize("architecture", ["builtin", "gpt2"])
def test_a_replay_cuts_the_same_way_at_the_same_steps(architecture: str, tmp_path: Path) -> None:
    model = toy_model(architecture)
    with memory_for(model, 120, since=6):
        digests = trained(model, tmp_path / "first")
    assert trained(toy_model(architecture), tmp_path / "again", stored(tmp_path / "first")) == digests


def test_memory_for_one_row_is_enough(tmp_path: Path) -> None:
    longest = int(TOKENS.lengths.max())
    model = toy_model()
    with memory_for(model, longest) as passes:
        trained(model, tmp_path)
    assert max(passes[-5:]) <= longest


def test_a_row_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    model = toy_model()
    with memory_for(model, 20), pytest.raises(MachineError, match=r"^the device has no memory for one row of 4\d tok"):
        trained(model, tmp_path)


def test_other_errors_are_not_taken_for_it() -> None:
    assert all(map(is_out_of_memory, [*ERRORS.values(), MemoryError()]))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(MachineError, match="no memory for 2,048 tokens at once"), enough_memory(2048):
        raise ERRORS["gpu"]
    with pytest.raises(RuntimeError, match="shapes"), enough_memory(2048):
        raise RuntimeError("shapes")
