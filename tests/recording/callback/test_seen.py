"""Losses seen in a training's own forward passes: what those passes say, row by row and epoch by epoch."""

import shutil
from itertools import pairwise
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from toy_trainings import Naive, Stop, padded, sft, tiny_gpt2, tokens_of, trained, trainer_of
from transformers import Trainer, TrainerCallback

import s2l
from s2l.data.tokens import load_tokens
from s2l.errors import RunFolderError, SettingsError
from s2l.recording.callback import seen as watching
from s2l.recording.callback.seen import Contents, whole_epoch
from s2l.report.caveats import SEEN_LOSSES
from s2l.trajectories import store
from s2l.types import STATISTICS
from toy_runs import files_of, manifest
from toy_runs import s2l as command

pytestmark = pytest.mark.filterwarnings("ignore:`gradient_checkpointing`:FutureWarning")
EPOCHS = 2
EACH = 6
"""Steps of an epoch."""
SMALL = {"max_length": 64, "losses": "seen"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gpt2(tmp_path_factory.mktemp("gpt2"))


def rows_of(trainer: Trainer) -> datasets.Dataset:
    """What the trainer trains on, as a pool."""
    return datasets.Dataset.from_list(list(trainer.train_dataset))


def seeing(model: Path, folder: Path, *callbacks: TrainerCallback, **arguments) -> Trainer:
    """A training that is watched, with its folder `run`."""
    trainer = trainer_of(model, folder / "trained", *callbacks, **arguments)
    trainer.add_callback(s2l.TrajectoryRecorder(rows_of(trainer), folder / "run", **SMALL))
    return trainer


def without_dropout(trainer: Trainer) -> Trainer:
    """Nothing is learned, and nothing left to chance: every pass is as scoring is."""
    trainer.args.learning_rate = 0.0
    for module in trainer.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return trainer


def check_against_recorded(trainer: Trainer, folder: Path) -> None:
    pool = rows_of(trainer)
    seen = s2l.TrajectoryRecorder(pool, folder / "seen", **SMALL)
    recorded = s2l.TrajectoryRecorder(pool, folder / "recorded", max_length=64, checkpoints=2)
    for recorder in (seen, recorded):
        trainer.add_callback(recorder)
    trained(trainer)
    steps = manifest(folder / "seen")["proxy"]["plan"]["saves"]
    ours, theirs = (store.load(folder / name / "trajectories", steps) for name in ("seen", "recorded"))
    assert np.array_equal(ours.ids, theirs.ids) and len(ours) > 20
    assert np.array_equal(ours.tokens_N, theirs.tokens_N)
    for statistic in STATISTICS:
        np.testing.assert_allclose(ours.sums[statistic], theirs.sums[statistic], rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def seen(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seen")
    trainer = seeing(model, folder, save_strategy="steps", save_steps=4)
    losses, weights = trained(trainer)
    torch.save([losses, weights, torch.get_rng_state()], folder / "result.pt")
    return folder


def test_the_training_is_the_one_it_would_have_been(model: Path, seen: Path, tmp_path: Path) -> None:
    losses, weights = trained(trainer_of(model, tmp_path, save_strategy="steps", save_steps=4))
    their_losses, their_weights, their_state = torch.load(seen / "result.pt")
    assert losses == their_losses
    assert torch.equal(weights, their_weights)
    assert torch.equal(torch.get_rng_state(), their_state)


def test_every_row_has_the_loss_of_the_pass_that_it_stood_in(model: Path, seen: Path, tmp_path: Path) -> None:
    """Dropout on, rows shuffled: nothing but that very pass gives these numbers."""
    naive = trainer_of(model, tmp_path, kind=Naive)
    trained(naive)
    tokens = load_tokens(seen / "run/tokens.arrow")
    recorded = store.load(seen / "run/trajectories", [EACH, 2 * EACH])
    assert len(naive.passes) == EPOCHS * len(tokens)
    row_of = {tuple(tokens.input_ids[a:b].tolist()): row for row, (a, b) in enumerate(pairwise(tokens.start_N))}
    assert len(row_of) == len(tokens)
    for epoch in range(EPOCHS):
        for ids, loss in naive.passes[epoch * len(tokens) : (epoch + 1) * len(tokens)]:
            assert recorded.sums["nll"][row_of[ids], epoch] == pytest.approx(loss, rel=2e-5, abs=1e-5)


def test_the_folder_is_a_run_that_says_where_its_losses_are_from(model: Path, seen: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(seen / "run", tmp_path / "run"))
    assert manifest(run)["proxy"]["plan"]["saves"] == [EACH, 2 * EACH]
    assert not (run / "saved").exists()
    done = command("report", run)
    assert done.code == 0, done.err
    assert SEEN_LOSSES in (run / "report.html").read_text(encoding="utf-8")
    pool = rows_of(trainer_of(model, tmp_path))
    drawn = s2l.draw(run, s2l.config.SelectSettings(budgets=("5",)), dataset=pool)
    (subset,) = drawn["subsets"]
    assert subset["rows"] == 5
    assert SEEN_LOSSES in (run / subset["path"] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("resumed", [4, 8])
def test_a_resumed_training_ends_with_the_same_losses(model: Path, seen: Path, tmp_path: Path, resumed: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(seeing(model, tmp_path, Stop(10), save_strategy="steps", save_steps=4))
    kept = sorted(path.name for path in (tmp_path / "run/saved").iterdir())
    assert kept == ["step-00000004-rank-0.parquet", "step-00000008-rank-0.parquet"]
    trainer = seeing(model, tmp_path, save_strategy="steps", save_steps=4)
    losses, _ = trained(trainer, resume_from_checkpoint=str(tmp_path / "trained" / f"checkpoint-{resumed}"))
    assert losses == torch.load(seen / "result.pt")[0][resumed:]
    ours, theirs = (files_of(path / "run/trajectories") for path in (tmp_path, seen))
    assert ours == theirs and len(ours) == EPOCHS


def test_what_was_seen_of_an_epoch_must_be_there_to_go_on(model: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(seeing(model, tmp_path, Stop(5), save_strategy="steps", save_steps=4))
    (tmp_path / "run/saved/step-00000004-rank-0.parquet").unlink()
    with pytest.raises(RunFolderError, match="what was seen of this epoch is not there"):
        trained(seeing(model, tmp_path), resume_from_checkpoint=str(tmp_path / "trained/checkpoint-4"))


def test_what_belongs_to_dropped_checkpoints_is_dropped(model: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(seeing(model, tmp_path, Stop(5), save_strategy="steps", save_steps=1, save_total_limit=2))
    kept = sorted(path.name for path in (tmp_path / "run/saved").iterdir())
    assert kept == [f"step-0000000{step}-rank-0.parquet" for step in (2, 3, 4)], "2 is dropped after 4 is saved"


def test_a_row_that_the_training_does_not_read_is_named(model: Path, tmp_path: Path) -> None:
    trainer = trainer_of(model, tmp_path / "trained")
    rows = [*trainer.train_dataset, {"input_ids": [5, 6, 7, 8]}]
    trainer.add_callback(s2l.TrajectoryRecorder(datasets.Dataset.from_list(rows), tmp_path / "run", **SMALL))
    with pytest.warns(UserWarning, match=r"goes on: 1 of the pool's 25 rows were not in .* the first .*25"):
        losses, _ = trained(trainer)
    assert len(losses) == EPOCHS * EACH
    assert not (tmp_path / "run/manifest.json").exists()


def test_rows_that_stand_in_the_pool_twice_have_a_pass_each(model: Path, tmp_path: Path) -> None:
    trainer = trainer_of(model, tmp_path / "trained", num_train_epochs=1)
    trainer.train_dataset = [*trainer.train_dataset[:20], *trainer.train_dataset[:4]]
    trainer.add_callback(s2l.TrajectoryRecorder(rows_of(trainer), tmp_path / "run", **SMALL))
    trained(trainer)
    run = tmp_path / "run"
    tokens, recorded = load_tokens(run / "tokens.arrow"), store.load(run / "trajectories", [EACH])
    texts = [tokens.input_ids[a:b].tobytes() for a, b in pairwise(tokens.start_N)]
    twice = [[row for row, text in enumerate(texts) if text == one] for one in set(texts) if texts.count(one) == 2]
    assert len(twice) == 4
    assert all(recorded.sums["nll"][a, 0] != recorded.sums["nll"][b, 0] for a, b in twice)


def test_a_pool_in_other_tokens_is_told_as_soon_as_it_is_sure(model: Path, toy_pool: Path, tmp_path: Path) -> None:
    recorder = s2l.TrajectoryRecorder(toy_pool, tmp_path / "run", template="short", **SMALL)
    trainer = trainer_of(model, tmp_path, recorder, num_train_epochs=1)
    trainer.train_dataset = 3 * list(trainer.train_dataset)
    steps: list[int] = []

    class Tell(TrainerCallback):
        def on_step_end(self, args, state, control, **given) -> None:
            steps.append(recorder.recording is not None)

    trainer.add_callback(Tell())
    with pytest.warns(UserWarning, match="none of the training's rows so far is a row of the pool.*train_dataset"):
        trained(trainer)
    assert steps.index(False) == 7, "32 rows"


def test_a_small_pool_of_a_large_training_is_found(model: Path, tmp_path: Path) -> None:
    trainer = trainer_of(model, tmp_path / "trained", num_train_epochs=2)
    rows = list(trainer.train_dataset)
    trainer.train_dataset = rows + 20 * rows[10:]
    trainer.add_callback(s2l.TrajectoryRecorder(datasets.Dataset.from_list(rows[:10]), tmp_path / "run", **SMALL))
    trained(trainer)
    assert len(store.load(tmp_path / "run/trajectories", manifest(tmp_path / "run")["proxy"]["plan"]["saves"])) == 10


def test_rows_that_the_data_set_pads_are_the_rows_without_padding(model: Path, seen: Path, tmp_path: Path) -> None:
    trainer = trainer_of(model, tmp_path / "trained")
    length = max(len(row["input_ids"]) for row in trainer.train_dataset)
    rows = [
        {"input_ids": ids + [0] * (length - len(ids)), "attention_mask": [1] * len(ids) + [0] * (length - len(ids))}
        for ids in (row["input_ids"] for row in trainer.train_dataset)
    ]
    trainer.add_callback(s2l.TrajectoryRecorder(datasets.Dataset.from_list(rows), tmp_path / "run", **SMALL))
    trained(trainer)
    ours, theirs = (store.load(path / "run/trajectories", [EACH, 2 * EACH]) for path in (tmp_path, seen))
    assert np.array_equal(ours.ids, theirs.ids) and np.array_equal(ours.sums["nll"], theirs.sums["nll"])


def test_labels_that_differ_are_told_at_the_first_batch(model: Path, tmp_path: Path) -> None:
    trainer = trainer_of(model, tmp_path / "trained")
    rows = [{**row, "labels": [*row["input_ids"][:-1], -100]} for row in trainer.train_dataset]
    recorder = s2l.TrajectoryRecorder(datasets.Dataset.from_list(rows), tmp_path / "run", **SMALL)
    trainer.add_callback(recorder)
    with pytest.warns(UserWarning, match="a row of the pool is in the training with other tokens that count"):
        trained(trainer)


def test_what_a_pass_does_not_survive_ends_the_watching_alone(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> None:
        raise torch.OutOfMemoryError("no memory for 5 GiB")

    monkeypatch.setattr(watching, "response_statistics_at", no_memory)
    trainer = seeing(model, tmp_path)
    with pytest.warns(UserWarning, match="the training goes on: OutOfMemoryError: no memory"):
        losses, _ = trained(trainer)
    assert len(losses) == EPOCHS * EACH
    assert not trainer.model._forward_hooks


def test_hooks_of_an_interrupted_training_give_way(model: Path, tmp_path: Path) -> None:
    trainer = seeing(model, tmp_path, Stop(2))
    with pytest.raises(KeyboardInterrupt):
        trained(trainer)
    again = trainer_of(model, tmp_path / "again")
    again.model = again.model_wrapped = trainer.model
    again.add_callback(s2l.TrajectoryRecorder(rows_of(again), tmp_path / "other", **SMALL))
    trained(again)
    assert not trainer.model._forward_hooks and not trainer.model.base_model._forward_hooks


def test_what_cannot_be_watched_is_refused(model: Path, tmp_path: Path) -> None:
    pool = rows_of(trainer_of(model, tmp_path))
    with pytest.raises(SettingsError, match="has a checkpoint for each epoch: leave out checkpoints"):
        s2l.TrajectoryRecorder(pool, tmp_path / "run", checkpoints=3, **SMALL)
    with pytest.raises(SettingsError, match="write 'recorded' or 'seen'"):
        s2l.TrajectoryRecorder(pool, tmp_path / "run", losses="guessed")
    with pytest.raises(SettingsError, match="5 steps are no whole epoch, which has 6"):
        trained(seeing(model, tmp_path, max_steps=5))
    with pytest.warns(UserWarning, match="goes on: the model is given no labels"):
        losses, _ = trained(seeing(model, tmp_path, label_smoothing_factor=0.1))
    assert len(losses) == EPOCHS * EACH


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_adapters_are_watched_with_the_model(model: Path, seen: Path, tmp_path: Path) -> None:
    """At a learning rate of nothing a LoRA that adds nothing sees what scoring would record, but for the dropout."""
    from peft import LoraConfig, get_peft_model

    plain = without_dropout(trainer_of(model, tmp_path))
    adapted = get_peft_model(plain.model, LoraConfig(target_modules=["c_attn"], fan_in_fan_out=True, r=4))
    trainer = Trainer(
        model=adapted,
        args=plain.args,
        train_dataset=plain.train_dataset,
        data_collator=padded,
        processing_class=plain.processing_class,
    )
    check_against_recorded(trainer, tmp_path)


def test_two_recorders_may_watch_one_training(model: Path, seen: Path, tmp_path: Path) -> None:
    trainer = seeing(model, tmp_path)
    half = datasets.Dataset.from_list(list(trainer.train_dataset)[:12])
    trainer.add_callback(s2l.TrajectoryRecorder(half, tmp_path / "half", **SMALL))
    trained(trainer)
    assert not trainer.model._forward_hooks
    whole, part = (store.load(tmp_path / name / "trajectories", [EACH, 2 * EACH]) for name in ("run", "half"))
    assert np.array_equal(part.sums["nll"], whole.sums["nll"][np.isin(whole.ids, part.ids)])


def test_in_sft_with_prompts_that_do_not_count(model: Path, tmp_path: Path) -> None:
    check_against_recorded(without_dropout(sft(model, tmp_path / "sft")), tmp_path)


def test_in_sft_with_several_rows_packed_into_one(model: Path, tmp_path: Path) -> None:
    """Rows come to the model end to end; a model that tells them apart by their positions sees each alone."""
    trainer = sft(model, tmp_path / "sft", packing=True, max_length=64)
    batch = next(iter(trainer.get_train_dataloader()))
    pool = sft(model, tmp_path / "sft").train_dataset.select_columns(["input_ids", "labels"])
    trained(trainer_of(model, tmp_path / "t", s2l.TrajectoryRecorder(pool, tmp_path / "pool", max_length=64)))
    found = list(Contents(tokens_of(tmp_path / "pool")).found(batch))
    assert len(found) > len(batch["input_ids"])
    flat = batch["input_ids"].flatten().tolist()
    tokens = tokens_of(tmp_path / "pool")
    for row, at, ids in found:
        assert [flat[place] for place in at] == ids.tolist()
        span = slice(*tokens.start_N[row : row + 2])
        assert tokens.input_ids[span][tokens.counted[span]].tolist() == ids.tolist()


def test_of_rows_with_one_content_each_takes_the_next_that_was_seen() -> None:
    first_N = np.array([0, 1, 0, 3, 1])
    one = np.array([1, 0, 3]), np.tile([10.0, 20.0, 30.0], (len(STATISTICS), 1))
    other = np.array([0, 0, 1]), np.tile([40.0, 50.0, 60.0], (len(STATISTICS), 1))
    sums_SN, unseen_N = whole_epoch([one, other], first_N)
    assert sums_SN[0].tolist() == [20.0, 10.0, 40.0, 30.0, 60.0] and not unseen_N.any()
    _, unseen_N = whole_epoch([one], first_N)
    assert unseen_N.tolist() == [False, False, True, False, True]
