"""The proxy's stage: what is kept in its folder, and what a second call does with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from s2l.config import ProxySettings, TokenSettings
from s2l.errors import RunFolderError, SettingsError
from s2l.progress import SILENT
from s2l.proxy.builtin import fit_tokenizer
from s2l.proxy.plan import Plan
from s2l.proxy.stage import PLAN, START, device_for, proxy_tokenizer, train_proxy
from s2l.types import Checkpoint
from toy_models import VOCABULARY, WINDOW, toy_model, toy_tokens

TOKENS = toy_tokens()
TOKENIZER = fit_tokenizer([f"{chr(a)}{chr(b)}" * 3 for a in range(65, 91) for b in range(97, 123)], VOCABULARY)
BUILTIN = ProxySettings(model="builtin", width=64, epochs=2, batch_size=8, checkpoints=3, threads=1, device="cpu")


def stage(folder: Path, settings: ProxySettings = BUILTIN, seed: int = 0) -> tuple[Plan, list[Checkpoint]]:
    return train_proxy(TOKENS, TOKENIZER, settings, folder, max_length=WINDOW, seed=seed, progress=SILENT)


def digests(found: list[Checkpoint]) -> list[str]:
    return [checkpoint.sha256 for checkpoint in found]


def test_only_plan_start_and_checkpoints_stay_and_no_pickle(tmp_path: Path) -> None:
    plan, found = stage(tmp_path)
    assert [checkpoint.step for checkpoint in found] == list(plan.saves) == [2, 4, 6]
    assert {path.name for path in tmp_path.iterdir()} == {PLAN, START, *(checkpoint.path.name for checkpoint in found)}
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".json", ".safetensors"}


def test_a_second_call_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = stage(tmp_path)
    monkeypatch.setattr("s2l.proxy.stage.train", None)
    assert stage(tmp_path) == first


def test_seeds_decide_the_weights_and_the_folder_does_not(tmp_path: Path) -> None:
    first, again, other = (stage(tmp_path / name, seed=seed)[1] for name, seed in [("a", 0), ("b", 0), ("c", 1)])
    assert digests(first) == digests(again)
    assert not set(digests(first)) & set(digests(other))


def test_the_model_before_training_is_a_checkpoint_if_asked_for(tmp_path: Path) -> None:
    _, found = stage(tmp_path / "with", BUILTIN.model_copy(update={"initial_checkpoint": True}))
    _, without = stage(tmp_path / "without")
    assert [checkpoint.step for checkpoint in found] == [0, 2, 4, 6]
    assert digests(found)[1:] == digests(without)


def test_a_lost_checkpoint_is_trained_again(tmp_path: Path) -> None:
    _, found = stage(tmp_path)
    for path in sorted(found[1].path.iterdir()):
        path.unlink()
    found[1].path.rmdir()
    assert digests(stage(tmp_path)[1]) == digests(found)


def test_a_plan_is_replayed_and_a_damaged_one_refused(tmp_path: Path) -> None:
    plan, _ = stage(tmp_path)
    assert stage(tmp_path, BUILTIN.model_copy(update={"batch_tokens": 32}))[0] == plan
    for content in ("{", "{}", "[]"):
        (tmp_path / PLAN).write_text(content)
        with pytest.raises(RunFolderError, match="damaged"):
            stage(tmp_path)


def test_the_plan_says_what_the_last_bits_depend_on(tmp_path: Path) -> None:
    plan, _ = stage(tmp_path, BUILTIN.model_copy(update={"threads": 2, "batch_size": 16}))
    assert (plan.threads, plan.workers, plan.ranks, plan.batch_tokens, plan.halvings) == (2, 2, 1, 2048, ())


def test_a_local_folder_is_a_proxy(tmp_path: Path) -> None:
    toy_model("llama-tied").save_pretrained(tmp_path / "model")
    settings = BUILTIN.model_copy(update={"model": str(tmp_path / "model"), "learning_rate": 1e-3})
    _, found = stage(tmp_path / "proxy", settings)
    assert len(set(digests(found))) == 3


def test_the_builtin_tokenizer_is_fitted_once_and_kept(tmp_path: Path) -> None:
    def texts() -> Iterator[str]:
        yield from ["some text", "some more"]

    def exhausted() -> Iterator[str]:
        raise AssertionError("fitted again")
        yield ""

    first = proxy_tokenizer(BUILTIN, TokenSettings(), texts(), tmp_path / "tokenizer")
    again = proxy_tokenizer(BUILTIN, TokenSettings(), exhausted(), tmp_path / "tokenizer")
    assert first.get_vocab() == again.get_vocab()
    assert again.decode(again.encode("some text\n ")) == "some text\n "
    assert (first.eos_token_id, again.eos_token_id) == (0, 0)


def test_a_tokenizer_may_be_named_for_the_builtin_proxy(tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path / "named")
    settings = TokenSettings(tokenizer=str(tmp_path / "named"))
    assert proxy_tokenizer(BUILTIN, settings, [], tmp_path / "kept").get_vocab() == TOKENIZER.get_vocab()


def test_devices_that_are_not_there_are_refused() -> None:
    assert device_for("cpu") == torch.device("cpu")
    assert device_for("auto").type in {"cpu", "cuda", "mps"}
    with pytest.raises(SettingsError, match="no device 'tpu'; there are: auto, cpu, cuda, mps"):
        device_for("tpu")
    missing = "mps" if not torch.backends.mps.is_available() else "cuda"
    with pytest.raises(SettingsError, match=f"no {missing} device on this machine"):
        device_for(missing)
