"""Recording from checkpoints that other trainers left: all of them, exactly, and one more later alone."""

import json
import shutil
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import snapshot_download
from peft import PeftModel
from trainings import by_trainer, by_trl_with_lora, steps_of
from transformers import AutoModelForCausalLM, AutoTokenizer

from s2l.cli import record as _verb  # noqa: F401 - registers it
from s2l.data.tokens import load_tokens
from s2l.trajectories import store
from s2l.types import Tokens
from toy_models import loss_of_one_row
from toy_runs import FOLDER, SETTINGS, Outcome, files_of, kept_ids, manifest, s2l, tiny_llama, write_jsonl

SHORT = ("--max-length", "48", "--threads", "1", "--template", "short")


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base") / "llama")


@pytest.fixture(scope="session")
def full(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of Trainer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return by_trainer(base, tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="session")
def lora(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters of TRL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return by_trl_with_lora(base, tmp_path_factory.mktemp("lora"))


@pytest.fixture(scope="session")
def finished(toy_pool: Path, full: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of Trainer's checkpoints; to be read only."""
    run = tmp_path_factory.mktemp("recorded") / "run"
    ok(record(toy_pool, full, run))
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def record(pool: Path, checkpoints: Path | str, out: Path, *more: str | Path) -> Outcome:
    return s2l("record", pool, "--checkpoints", checkpoints, *SHORT, "--out", out, *more)


def ok(outcome: Outcome) -> Outcome:
    assert outcome.code == 0, outcome.err
    return outcome


def tokens_of(run: Path) -> Tokens:
    """The run's, in memory, so that torch may have them."""
    tokens = load_tokens(run / "tokens.arrow")
    return tokens.of(np.arange(len(tokens)))


def losses(run: Path) -> np.ndarray:
    return store.load(run / "trajectories", steps_of(run)).losses_NT


def test_losses_are_those_that_the_checkpoint_itself_gives_row_by_row(finished: Path, full: Path) -> None:
    tokens = tokens_of(finished)
    assert steps_of(finished) == [2, 4, 6]
    for column, step in enumerate((2, 4, 6)):
        model = AutoModelForCausalLM.from_pretrained(full / f"checkpoint-{step}").eval()
        naive = [loss_of_one_row(model, tokens, row) for row in range(0, len(tokens), 29)]
        np.testing.assert_allclose(losses(finished)[::29, column], naive, rtol=2e-5)
    assert np.ptp(losses(finished), axis=1).min() > 0.01  # the checkpoints differ


def test_adapters_are_merged_into_the_model_that_they_name(
    toy_pool: Path, lora: Path, base: Path, tmp_path: Path
) -> None:
    ok(record(toy_pool, lora, tmp_path / "run"))
    tokens = tokens_of(tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), lora / "checkpoint-6").eval()
    naive = [loss_of_one_row(model, tokens, row) for row in range(0, len(tokens), 29)]
    np.testing.assert_allclose(losses(tmp_path / "run")[::29, 2], naive, rtol=2e-5)
    untrained = AutoModelForCausalLM.from_pretrained(base).eval()
    assert abs(loss_of_one_row(untrained, tokens, 0) - naive[0]) > 1e-3


def test_no_weights_are_copied_and_no_embedding_is_touched(finished: Path, full: Path) -> None:
    from s2l.proxy.checkpoints import find, load_model

    assert not list(finished.rglob("*.safetensors"))
    checkpoint = find(finished / "proxy", 6)
    assert checkpoint is not None
    end = AutoTokenizer.from_pretrained(full / "checkpoint-6").eos_token_id
    theirs = AutoModelForCausalLM.from_pretrained(full / "checkpoint-6").get_input_embeddings().weight
    ours = load_model(checkpoint, torch.device("cpu")).get_input_embeddings().weight
    assert torch.equal(ours, theirs)
    assert torch.equal(ours[end], theirs[end])


def test_the_run_is_one_that_every_reader_takes(run: Path) -> None:
    ok(s2l("select", run, "--budget", "20", "--with-random"))
    subset = run / "subsets/s2l-20"
    assert len(kept_ids(subset)) == 20
    card = (subset / "README.md").read_text()
    assert "s2l record" in card and "s2l run" not in card
    for words in (
        ("compare", run, "--budget", "20", "--methods", "s2l,random,el2n"),
        ("report", run),
        ("clusters", run),
        ("explain", run, min(kept_ids(subset))),
        ("verify", run, "--rows", "20", "--pool-rows", "30", "--draws", "2"),
        ("status", run),
    ):
        ok(s2l(*words))
    assert json.loads(s2l("status", run, "--json").out)["state"] == "finished"


def test_one_more_checkpoint_is_scored_alone_and_gives_the_run_of_all(
    toy_pool: Path, full: Path, finished: Path, tmp_path: Path
) -> None:
    some, run = tmp_path / "some", tmp_path / "run"
    for step in (2, 4):
        shutil.copytree(full / f"checkpoint-{step}", some / f"checkpoint-{step}")
    ok(record(toy_pool, some, run))
    ok(s2l("select", run, "--budget", "20"))
    before = files_of(run / "trajectories")
    times = {path: path.stat().st_mtime_ns for path in (run / "trajectories").rglob("*.parquet")}
    shutil.copytree(full / "checkpoint-6", some / "checkpoint-6")
    ok(record(toy_pool, some, run))
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    after = files_of(run / "trajectories")
    assert set(before.items()) <= set(after.items())
    assert after == files_of(finished / "trajectories")
    assert not (run / "subsets").exists()
    assert len(list(run.glob("earlier/*/subsets/s2l-20"))) == 1
    ok(s2l("select", run, "--budget", "20"))
    assert manifest(run)["proxy"]["plan"]["saves"] == [2, 4, 6]


def test_a_checkpoint_that_comes_after_added_rows_scores_them_too(
    toy_pool: Path, full: Path, finished: Path, tmp_path: Path
) -> None:
    some, run = tmp_path / "some", tmp_path / "run"
    for step in (2, 4):
        shutil.copytree(full / f"checkpoint-{step}", some / f"checkpoint-{step}")
    ok(record(toy_pool, some, run))
    more = write_jsonl(tmp_path / "more.jsonl", [{"instruction": "Add 1 and 900.", "output": "1 + 900 = 901"}])
    ok(s2l("record", run, "--add", more))
    before = files_of(run / "trajectories")
    shutil.copytree(full / "checkpoint-6", some / "checkpoint-6")
    ok(record(toy_pool, some, run, "--processes", "2"))
    after = files_of(run / "trajectories")
    assert set(before.items()) <= set(after.items())
    assert set(files_of(finished / "trajectories").items()) <= set(after.items())
    assert set(after) - set(before) == {f"step-00000006/{name}-00000.parquet" for name in ("shard", "added-001-shard")}
    assert losses(run).shape == (len(losses(finished)) + 1, 3)
    assert not list(run.glob("*.part"))


def test_revisions_on_the_hub_and_weights_in_several_files_are_read(
    toy_pool: Path, full: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = tmp_path / "hub"
    for step in (2, 4, 6):
        commit = f"{step:040x}"
        there = hub / "models--org--name/snapshots" / commit
        AutoModelForCausalLM.from_pretrained(full / f"checkpoint-{step}").save_pretrained(there, max_shard_size="60KB")
        assert (there / "model.safetensors.index.json").is_file()
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(full / f"checkpoint-{step}" / file, there)
        (hub / "models--org--name/refs").mkdir(exist_ok=True)
        (hub / f"models--org--name/refs/step{step}").write_text(commit)
    from_cache = partial(snapshot_download, cache_dir=hub, local_files_only=True)
    monkeypatch.setattr("s2l.proxy.load.snapshot_download", from_cache)
    ok(record(toy_pool, ",".join(f"org/name@step{step}" for step in (4, 2, 6)), tmp_path / "run"))
    np.testing.assert_array_equal(losses(tmp_path / "run"), losses(finished))
    assert manifest(tmp_path / "run")["proxy"]["start"]["model"] == "org/name"


def test_a_checkpoint_that_is_gone_keeps_its_losses(toy_pool: Path, full: Path, tmp_path: Path) -> None:
    some, run = Path(shutil.copytree(full, tmp_path / "some")), tmp_path / "run"
    ok(record(toy_pool, some, run))
    shutil.rmtree(some / "checkpoint-4")
    outcome = ok(record(toy_pool, some, run))
    assert "the checkpoint of step 4 is not there any more: its recorded losses stay" in " ".join(outcome.err.split())
    assert steps_of(run) == [2, 4, 6]


def test_a_killed_recording_goes_on_to_the_identical_result(
    toy_pool: Path, full: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written = store.write_item, []

    def dies(item: store.WorkItem, *rest: object) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(item)
        real(item, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "write_item", dies)
    assert record(toy_pool, full, tmp_path / "run").code != 0
    monkeypatch.undo()
    assert not (tmp_path / "run/manifest.json").exists()
    ok(record(toy_pool, full, tmp_path / "run"))
    assert files_of(tmp_path / "run/trajectories") == files_of(finished / "trajectories")


def test_a_checkpoint_that_has_changed_is_refused(toy_pool: Path, full: Path, run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(full, tmp_path / "other"))
    shutil.copy(other / "checkpoint-6/model.safetensors", other / "checkpoint-4/model.safetensors")
    outcome = record(toy_pool, other, run)
    assert outcome.code == FOLDER
    assert "not the checkpoint of step 4 that" in outcome.error


def test_other_settings_are_refused_by_name(toy_pool: Path, full: Path, run: Path) -> None:
    outcome = s2l("record", toy_pool, "--checkpoints", full, *SHORT, "--max-length", "40", "--out", run)
    assert outcome.code == FOLDER
    assert "--max-length was '48', now '40'" in outcome.error


def test_methods_that_train_the_proxy_again_are_refused(run: Path) -> None:
    outcome = s2l("select", run, "--budget", "20", "--method", "diverse-evol")
    assert outcome.code == SETTINGS
    assert "these checkpoints come from another training" in outcome.error


def test_a_folder_with_a_name_of_our_own_is_a_folder(toy_pool: Path, full: Path, tmp_path: Path) -> None:
    shutil.copytree(full, tmp_path / "seen")
    ok(record(toy_pool, tmp_path / "seen", tmp_path / "run"))
    assert manifest(tmp_path / "run")["command"].startswith("s2l record ")
    assert "seen in forward passes" not in (tmp_path / "run/report.html").read_text(encoding="utf-8")
    more = write_jsonl(tmp_path / "more.jsonl", [{"instruction": "Add 3 and 1.", "output": "4", "source": "later"}])
    ok(s2l("record", tmp_path / "run", "--add", more))


def test_the_commands_on_a_card_draw_from_the_checkpoints(run: Path, tmp_path: Path) -> None:
    ok(s2l("select", run, "--budget", "9", "--set", "clusters=5"))
    (card,) = run.glob("subsets/*/README.md")
    assert "--out RUN && s2l select RUN --budget 9 --set clusters=5" in card.read_text(encoding="utf-8")
