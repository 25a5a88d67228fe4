"""How a run finds its way of scoring: checked against rows alone, kept, halved where memory runs out."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from s2l.config import ProxySettings
from s2l.errors import MachineError
from s2l.progress import SILENT, Advance
from s2l.proxy import checkpoints
from s2l.proxy.plan import Plan, make_plan
from s2l.scoring import compiled, setup
from s2l.scoring import record as recording
from s2l.scoring.precision import lower_
from s2l.scoring.score import Scorer, score
from s2l.scoring.setup import checked_path, find_scorer
from s2l.types import STATISTICS, Checkpoint
from toy_models import ARCHITECTURES, toy_model, toy_tokens

CPU = torch.device("cpu")
TOKENS = toy_tokens(12)
ALL = np.arange(len(TOKENS))
PLAN: Plan = make_plan(
    len(TOKENS), ProxySettings(model="builtin", width=64), batch_tokens=200, threads=1, device="cpu", seed=0
)
RESPONSES = 3.0 * TOKENS.response_lengths.sum()
WHOLE = {"gemma2-soft-capped", "granite-scaled"}


class Heard:
    """Keeps what a user is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.units = 0

    @contextmanager
    def stage(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:
        yield self._advance

    def _advance(self, units: int) -> None:
        self.units += units

    def note(self, line: str) -> None:
        self.lines.append(line)


def looks_at_padding(model: PreTrainedModel) -> PreTrainedModel:
    """As an architecture whose state runs over the padding into what counts."""
    model.get_input_embeddings().register_forward_hook(lambda _m, _i, out: out + out.mean(dim=1, keepdim=True))
    return model


def runs_out_of_memory(model: PreTrainedModel, tokens: int) -> PreTrainedModel:
    """As a device that holds so many tokens at once."""

    def check(_module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if inputs[0].numel() > tokens:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.get_input_embeddings().register_forward_pre_hook(check)
    return model


def saved(folder: Path, architecture: str = "builtin") -> Checkpoint:
    return checkpoints.save(toy_model(architecture), folder / "proxy", 1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_fastest_path_that_gives_a_rows_own_losses_is_taken(architecture: str) -> None:
    path = checked_path(toy_model(architecture), TOKENS, CPU)
    assert path == ("whole" if architecture in WHOLE else "trunk")


def test_a_model_that_looks_at_padding_is_scored_row_by_row() -> None:
    model = looks_at_padding(toy_model())
    path = checked_path(model, TOKENS, CPU)
    assert path == "alone"
    together, alone = (score(model, TOKENS, ALL, Scorer(200, CPU, "float32", path=p)) for p in ("trunk", path))
    single = np.concatenate([score(model, TOKENS, ALL[[row]], Scorer(200, CPU, "float32")) for row in ALL], axis=1)
    np.testing.assert_allclose(alone, single, rtol=1e-5, atol=1e-5)
    assert not np.allclose(together, single, rtol=1e-3)


def test_rows_of_one_length_and_a_long_one_show_padding_too() -> None:
    lengths = TOKENS.lengths
    short = np.flatnonzero(lengths == np.bincount(lengths).argmax())[:2]
    rows = np.sort(np.append(short, lengths.argmax()))
    few = TOKENS.of(rows)
    assert len(set(few.lengths.tolist())) == 2
    assert checked_path(looks_at_padding(toy_model()), few, CPU) == "alone"


def test_row_by_row_nothing_is_padded() -> None:
    for precision, device in (("float32", "cpu"), ("bfloat16", "cpu"), ("float32", "cuda")):
        assert Scorer(200, torch.device(device), precision, path="alone").round_to == 1
    assert Scorer(200, CPU, "bfloat16", path="trunk").round_to == 8


def test_of_processes_that_halve_the_smallest_batch_is_kept(tmp_path: Path) -> None:
    found = find_scorer(saved(tmp_path), TOKENS, PLAN, RESPONSES, tmp_path, SILENT)
    for batch_tokens in (100, 50, 100):
        setup.keep_scorer(replace(found, batch_tokens=batch_tokens), tmp_path)
    assert find_scorer(saved(tmp_path), TOKENS, PLAN, RESPONSES, tmp_path, SILENT).batch_tokens == 50
    assert not list(tmp_path.glob("*.part"))


def test_after_a_launchers_processes_one_scores_with_the_threads_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "THREADS", 3)
    for ranks, workers in ((1, 1), (2, 2), (8, 3)):
        plan = replace(PLAN, ranks=ranks)
        found = find_scorer(saved(tmp_path), TOKENS, plan, RESPONSES, tmp_path / str(ranks), SILENT)
        assert found.workers == workers


def test_what_was_found_is_told_once_kept_and_used_again(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path, "gemma2-soft-capped")
    first, again = Heard(), Heard()
    found = find_scorer(checkpoint, TOKENS, PLAN, RESPONSES, tmp_path, first)
    assert found == Scorer(200, CPU, "float32", 1, "whole", compiled=False)
    assert len(first.lines) == 1
    assert "its head does more than multiply" in first.lines[0]
    setup.keep_scorer(replace(found, batch_tokens=50), tmp_path)
    assert find_scorer(checkpoint, TOKENS, PLAN, RESPONSES, tmp_path, again) == replace(found, batch_tokens=50)
    assert not again.lines


def test_many_logits_are_compiled_for_where_there_is_a_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "LEAST_LOGITS", 1)
    heard = Heard()
    found = find_scorer(saved(tmp_path), TOKENS, PLAN, RESPONSES, tmp_path, heard)
    assert found.compiled == (compiled.compiled_update("cpu", torch.float32) is not None)
    eager, fast = (score(toy_model(), TOKENS, ALL, replace(found, compiled=on)) for on in (False, True))
    np.testing.assert_allclose(fast, eager, rtol=1e-5, atol=1e-5)


def test_without_a_compiler_scoring_is_eager_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(*_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(setup, "LEAST_LOGITS", 1)
    monkeypatch.setattr(torch, "compile", no_compiler)
    compiled.compiled_update.cache_clear()
    heard = Heard()
    found = find_scorer(saved(tmp_path), TOKENS, PLAN, RESPONSES, tmp_path, heard)
    compiled.compiled_update.cache_clear()
    assert not found.compiled
    assert any("no C++ compiler" in line for line in heard.lines)


@pytest.mark.parametrize("capacity", [100, 48])
def test_a_batch_that_does_not_fit_is_halved_and_the_losses_stay(
    capacity: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = saved(tmp_path)
    expected = recording.record(TOKENS, [checkpoint], PLAN, tmp_path / "roomy", SILENT, str).losses_NT
    load = recording.load_model
    monkeypatch.setattr(recording, "load_model", lambda *args: runs_out_of_memory(load(*args), capacity))
    heard = Heard()
    found = recording.record(TOKENS, [checkpoint], PLAN, tmp_path / "tight", heard, str)
    np.testing.assert_allclose(found.losses_NT, expected, atol=1e-5)
    assert heard.units == TOKENS.start_N[-1]
    kept = find_scorer(checkpoint, TOKENS, PLAN, RESPONSES, tmp_path / "tight", SILENT)
    assert kept.batch_tokens == {100: 100, 48: 50}[capacity]


def test_a_row_that_does_not_fit_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = saved(tmp_path)
    load = recording.load_model
    monkeypatch.setattr(recording, "load_model", lambda *args: runs_out_of_memory(load(*args), 20))
    with pytest.raises(MachineError, match="no memory for one row"):
        recording.record(TOKENS, [checkpoint], PLAN, tmp_path / "tight", SILENT, str)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_weights_kept_in_bfloat16_give_what_autocast_gives(architecture: str) -> None:
    scorer = Scorer(200, CPU, "bfloat16", path="whole" if architecture in WHOLE else "trunk")
    cast = score(toy_model(architecture), TOKENS, ALL, scorer)
    kept = score(lower_(toy_model(architecture)), TOKENS, ALL, scorer)
    exact = score(toy_model(architecture), TOKENS, ALL, replace(scorer, precision="float32"))
    nll = STATISTICS.index("nll")
    np.testing.assert_allclose(kept[nll], cast[nll], rtol=0.01)
    np.testing.assert_allclose(kept[nll], exact[nll], rtol=0.02)
