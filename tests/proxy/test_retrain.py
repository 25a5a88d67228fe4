"""Training the proxy again on some of the rows: as its run did, once, and in any order of the rows."""

from pathlib import Path

import numpy as np
import pytest
import torch

from s2l.config import ProxySettings
from s2l.errors import NumericsError, RunFolderError
from s2l.files import read_json
from s2l.progress import SILENT
from s2l.proxy.builtin import fit_tokenizer
from s2l.proxy.checkpoints import WEIGHTS
from s2l.proxy.plan import PLAN
from s2l.proxy.retrain import trained_on
from s2l.proxy.stage import train_proxy
from s2l.proxy.step import Stepper
from s2l.types import Checkpoint
from toy_models import VOCABULARY, WINDOW, toy_model, toy_tokens

TOKENS = toy_tokens()
TOKENIZER = fit_tokenizer([f"{chr(a)}{chr(b)}" * 3 for a in range(65, 91) for b in range(97, 123)], VOCABULARY)
SETTINGS = ProxySettings(
    model="builtin", width=64, batch_size=8, checkpoints=3, threads=1, device="cpu", initial_checkpoint=True
)
ALL, SOME = np.arange(len(TOKENS)), np.array([2, 3, 5, 7, 11, 13, 17, 19, 20])


def run(folder: Path, settings: ProxySettings = SETTINGS) -> list[Checkpoint]:
    """The training of a run, on all rows."""
    return train_proxy(TOKENS, TOKENIZER, settings, folder / "run", max_length=WINDOW, seed=4, progress=SILENT)[1]


def again(folder: Path, rows: np.ndarray, name: str = "again", settings: ProxySettings = SETTINGS) -> Checkpoint:
    return trained_on(
        rows,
        TOKENS,
        TOKENIZER,
        settings,
        folder / "run",
        folder / name,
        max_length=WINDOW,
        seed=4,
        progress=SILENT,
        place=lambda row: f"pool.jsonl:{row + 1}",
    )


def test_on_all_rows_it_becomes_what_the_run_made_and_on_none_what_it_began_with(tmp_path: Path) -> None:
    first, *_, last = run(tmp_path)
    trained, begun = again(tmp_path, ALL, "all"), again(tmp_path, ALL[:0], "none")
    assert (trained.sha256, trained.step) == (last.sha256, last.step)
    assert (begun.sha256, begun.step) == (first.sha256, 0)
    assert [path.name for path in (tmp_path / "all").glob("step-*")] == [trained.path.name]


def test_some_rows_are_trained_on_alone_with_the_runs_settings(tmp_path: Path) -> None:
    run(tmp_path)
    trained = again(tmp_path, SOME)
    made, plan = read_json(tmp_path / "run" / PLAN), read_json(trained.path.with_name(PLAN))
    assert (plan["steps"], plan["saves"], made["steps"]) == (6, [6], 9)
    different = {name for name in plan if plan[name] != made[name]}
    assert different == {"steps", "saves"}


def test_the_order_of_the_rows_does_not_matter_and_which_they_are_does(tmp_path: Path) -> None:
    run(tmp_path)
    found = [again(tmp_path, rows, name).sha256 for rows, name in ((SOME, "a"), (SOME[::-1], "b"), (SOME[:-1], "c"))]
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_it_is_done_once_and_a_stop_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path)
    expected = again(tmp_path, SOME, "whole")
    with monkeypatch.context() as stopped:
        stopped.setattr("s2l.proxy.stage.train", None)
        with pytest.raises(TypeError):
            again(tmp_path, SOME)
    assert again(tmp_path, SOME).sha256 == expected.sha256
    begun = again(tmp_path, ALL[:0], "none")
    monkeypatch.setattr("s2l.proxy.stage.train", None)
    monkeypatch.setattr("s2l.proxy.retrain.beginning", None)
    assert again(tmp_path, SOME).sha256 == expected.sha256
    assert again(tmp_path, ALL[:0], "none") == begun


def test_it_begins_with_the_model_of_the_run_or_not_at_all(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"model": str(tmp_path / "model"), "learning_rate": 1e-3})
    toy_model("llama-tied").save_pretrained(tmp_path / "model")
    first, *_ = run(tmp_path, settings)
    assert again(tmp_path, ALL[:0], "before", settings).sha256 == first.sha256
    toy_model("llama-tied", seed=1).save_pretrained(tmp_path / "model")
    assert (tmp_path / "model" / WEIGHTS).is_file()
    for rows, name in ((SOME, "some"), (ALL[:0], "none")):
        with pytest.raises(RunFolderError, match=r"trained from another .* than is there now"):
            again(tmp_path, rows, name, settings)


def test_a_row_whose_loss_is_not_finite_is_named_by_its_place_in_the_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path)
    monkeypatch.setattr(Stepper, "lead", lambda *_args: torch.tensor(float("nan")))
    monkeypatch.setattr(Stepper, "first_unsound", lambda *_args: 1)
    with pytest.raises(NumericsError, match=r"first seen in pool\.jsonl:4;"):
        again(tmp_path, SOME[::-1])
