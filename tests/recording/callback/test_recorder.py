"""A recorder in a Trainer: the training is as it is without, and its folder is a run."""

import json
import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from torch.distributed.fsdp import fully_shard
from toy_trainings import CHECKPOINTS, STEPS, Stop, padded, tiny_gpt2, tokens_of, trained, trainer_of
from transformers import AutoModelForCausalLM, TrainerCallback

import s2l
from s2l.errors import RunFolderError, SettingsError
from s2l.proxy.load import NO_WEIGHTS
from s2l.recording.callback import recording
from s2l.trajectories import store
from toy_models import loss_of_one_row
from toy_runs import FOLDER, SETTINGS, files_of, manifest, toy_rows, write_jsonl
from toy_runs import s2l as command

SAVES = [3, 6, 9, 12]
SMALL = {"template": "short", "max_length": 64, "checkpoints": CHECKPOINTS}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gpt2(tmp_path_factory.mktemp("gpt2"))


@pytest.fixture(scope="module")
def recorded(model: Path, toy_pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished recording in `run`, the trainer's checkpoints in `trained`, losses and weights in `result.pt`."""
    folder = tmp_path_factory.mktemp("recorded")
    recorder = s2l.TrajectoryRecorder(toy_pool, folder / "run", initial_checkpoint=True, **SMALL)
    trainer = trainer_of(model, folder / "trained", recorder, save_strategy="steps", save_steps=3)
    losses, weights = trained(trainer)
    torch.save([losses, weights, torch.get_rng_state()], folder / "result.pt")
    return folder


def test_losses_weights_and_random_numbers_are_those_of_a_training_without_it(
    model: Path, recorded: Path, tmp_path: Path
) -> None:
    losses, weights = trained(trainer_of(model, tmp_path, save_strategy="steps", save_steps=3))
    their_losses, their_weights, their_state = torch.load(recorded / "result.pt")
    assert losses == their_losses and len(losses) == STEPS
    assert torch.equal(weights, their_weights)
    assert torch.equal(torch.get_rng_state(), their_state)
    again, _ = trained(trainer_of(model, tmp_path / "other", seed=1))
    assert again != losses


@pytest.mark.parametrize("step", SAVES)
def test_the_sums_are_those_of_the_checkpoints_that_were_not_needed(recorded: Path, step: int) -> None:
    saved = AutoModelForCausalLM.from_pretrained(recorded / "trained" / f"checkpoint-{step}").eval()
    tokens = tokens_of(recorded / "run")
    trajectories = store.load(recorded / "run" / "trajectories", [0, *SAVES])
    losses_N = trajectories.losses_NT[:, trajectories.steps.index(step)]
    rows = range(0, len(tokens), 17)
    np.testing.assert_allclose(losses_N[rows], [loss_of_one_row(saved, tokens, row) for row in rows], atol=1e-5)


def test_no_weights_are_left_in_the_folder(recorded: Path) -> None:
    assert not [name for name in files_of(recorded / "run") if name.endswith((".safetensors", ".bin", ".pt"))]


def test_a_recording_is_a_run_for_every_command(recorded: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(recorded / "run", tmp_path / "run"))
    assert [checkpoint["step"] for checkpoint in manifest(run)["proxy"]["checkpoints"]] == [0, *SAVES]
    assert manifest(run)["subsets"] == []
    assert manifest(run)["command"] == f"s2l select {recorded / 'run'} --budget 11%"
    assert command("report", run).code == 0
    drawn = command("select", run, "--budget", "11%", "--set", "clusters=5", "--json")
    assert drawn.code == 0, drawn.err
    (subset,) = json.loads(drawn.out)["subsets"]
    assert subset["rows"] == 17  # 11 % of 150
    for words in (
        ["report", run],
        ["explain", run, tokens_of(run).ids[0].decode()],
        ["clusters", run],
        ["compare", run, "--budget", "11%"],
    ):
        done = command(*words)
        assert done.code == 0, done.err
    found = json.loads(command("status", run, "--json").out)
    assert (found["state"], found["missing"], found["damaged"]) == ("finished", [], [])
    left_out = json.loads((run / "comparison.json").read_text())["left_out"]
    assert {method["method"] for method in left_out if NO_WEIGHTS in method["reason"]} >= {"grand", "semdedup"}


def test_what_needs_the_weights_is_refused_in_one_line(recorded: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(recorded / "run", tmp_path / "run"))
    refused = command("select", run, "--budget", "11%", "--method", "grand")
    assert refused.code == SETTINGS
    assert NO_WEIGHTS in refused.error


@pytest.mark.parametrize("resumed", [3, 6])
def test_a_resumed_training_ends_with_the_same_recording(
    model: Path, toy_pool: Path, recorded: Path, tmp_path: Path, resumed: int
) -> None:
    def trainer(*more: TrainerCallback):
        recorder = s2l.TrajectoryRecorder(toy_pool, tmp_path / "run", initial_checkpoint=True, **SMALL)
        return trainer_of(model, tmp_path / "trained", recorder, *more, save_strategy="steps", save_steps=3)

    with pytest.raises(KeyboardInterrupt):
        trained(trainer(Stop(10)))
    assert not (tmp_path / "run" / "manifest.json").exists()
    checkpoint = tmp_path / "trained" / f"checkpoint-{resumed}"
    for step in (6, 9):  # one of them is there although the training goes back to before it
        if step > resumed + 3:
            shutil.rmtree(tmp_path / "run" / "trajectories" / f"step-{step:08d}")
    losses, _ = trained(trainer(), resume_from_checkpoint=str(checkpoint))
    assert losses == torch.load(recorded / "result.pt")[0][resumed:]
    ours, theirs = (files_of(path / "run" / "trajectories") for path in (tmp_path, recorded))
    assert ours == theirs and len(ours) == 1 + len([0, *SAVES])
    assert (tmp_path / "run" / "signal.json").read_bytes() == (recorded / "run" / "signal.json").read_bytes()


def test_a_checkpoint_that_the_training_went_past_is_missed(
    model: Path, toy_pool: Path, recorded: Path, tmp_path: Path
):
    recorder = s2l.TrajectoryRecorder(toy_pool, tmp_path / "run", **SMALL)
    checkpoint = shutil.copytree(recorded / "trained" / "checkpoint-6", tmp_path / "trained" / "checkpoint-6")
    with pytest.raises(RunFolderError, match="goes on at step 6, but step 3 was not recorded"):
        trained(trainer_of(model, tmp_path / "trained", recorder), resume_from_checkpoint=str(checkpoint))


def test_a_finished_recording_is_not_overwritten(model: Path, toy_pool: Path, recorded: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(recorded / "run", tmp_path / "run"))
    before = files_of(run)
    recorder = s2l.TrajectoryRecorder(toy_pool, run, initial_checkpoint=True, **SMALL)
    with pytest.raises(RunFolderError, match=r"a training with learning_rate 0\.001, this one has 0\.0001"):
        trained(trainer_of(model, tmp_path, recorder, learning_rate=1e-4))
    other = trainer_of(model, tmp_path, recorder)
    with torch.no_grad():
        other.model.lm_head.weight += 0.01
    with pytest.warns(UserWarning, match="no more is recorded, the training goes on: .*step 0 was recorded from other"):
        trained(other)
    after = files_of(run)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed <= {"seconds.json", ".lock"}


def test_a_recording_of_another_training_is_refused(model: Path, toy_pool: Path, recorded: Path, tmp_path: Path):
    run = Path(shutil.copytree(recorded / "run", tmp_path / "run"))
    recorder = s2l.TrajectoryRecorder(toy_pool, run, initial_checkpoint=True, **SMALL)
    with pytest.raises(RunFolderError, match="a training with steps 12, this one has 6"):
        trained(trainer_of(model, tmp_path, recorder, num_train_epochs=1))
    other = s2l.TrajectoryRecorder(toy_pool, run, initial_checkpoint=True, **{**SMALL, "checkpoints": 3})
    with pytest.raises(RunFolderError, match="--checkpoints was '4', now '3'"):
        trained(trainer_of(model, tmp_path, other))


def test_a_loss_that_is_no_number_ends_the_recording_and_not_the_training(
    model: Path, toy_pool: Path, tmp_path: Path
) -> None:
    class Break(TrainerCallback):
        def on_step_begin(self, args, state, control, model=None, **given) -> None:
            if state.global_step == 4:
                with torch.no_grad():
                    model.lm_head.weight.fill_(torch.nan)

    recorder = s2l.TrajectoryRecorder(toy_pool, tmp_path / "run", **SMALL)
    with pytest.warns(UserWarning, match="no more is recorded, the training goes on: .*not a finite number"):
        losses, _ = trained(trainer_of(model, tmp_path, recorder, Break()))
    assert len(losses) == STEPS
    assert not (tmp_path / "run" / "manifest.json").exists()
    assert command("select", tmp_path / "run", "--budget", "3").code == FOLDER


def test_a_training_that_ends_early_says_how_far_the_recording_is(model: Path, toy_pool: Path, tmp_path: Path) -> None:
    class Enough(TrainerCallback):
        def on_step_end(self, args, state, control, **given) -> None:
            control.should_training_stop = state.global_step == 7

    recorder = s2l.TrajectoryRecorder(toy_pool, tmp_path / "run", **SMALL)
    with pytest.warns(UserWarning, match="ended at step 7 of 12, with 2 of 4 checkpoints recorded"):
        trained(trainer_of(model, tmp_path, recorder, Enough()))


def test_rows_of_token_ids_are_scored_as_they_are(model: Path, recorded: Path, tmp_path: Path) -> None:
    tokens = tokens_of(recorded / "run")
    rows = []
    for row in range(len(tokens)):
        span = slice(*tokens.start_N[row : row + 2])
        labels = np.where(tokens.counted[span], tokens.input_ids[span], -100)
        rows.append({"input_ids": tokens.input_ids[span].tolist(), "labels": labels.tolist()})
    pool = datasets.Dataset.from_list(rows)
    trained(
        trainer_of(model, tmp_path, s2l.TrajectoryRecorder(pool, tmp_path / "run", **{**SMALL, "template": "auto"}))
    )
    ours, theirs = (
        store.load(tmp_path / "run" / "trajectories", SAVES),
        store.load(recorded / "run" / "trajectories", SAVES),
    )
    assert not set(ours.ids) & set(theirs.ids)
    np.testing.assert_allclose(np.sort(ours.losses_NT[:, -1]), np.sort(theirs.losses_NT[:, -1]), atol=1e-5)
    drawn = s2l.draw(tmp_path / "run", s2l.config.SelectSettings(budgets=("5",)), dataset=pool)
    assert drawn["subsets"][0]["rows"] == 5


def test_sharded_weights_are_refused_in_one_line(model: Path, toy_pool: Path, tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        recorder = s2l.TrajectoryRecorder(toy_pool, tmp_path / "run", **SMALL)
        trainer = trainer_of(model, tmp_path, recorder)
        fully_shard(trainer.model, mesh=torch.distributed.init_device_mesh("cpu", (1,)))
        with pytest.raises(SettingsError, match="the weights are sharded"):
            recorder.on_train_begin(trainer.args, trainer.state, trainer.control, model=trainer.model)
    finally:
        torch.distributed.destroy_process_group()
    assert not (tmp_path / "run").exists()


def test_an_argument_that_there_is_not_is_named_with_those_there_are(toy_pool: Path, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"argument 'epochs'; it takes: .*max_length"):
        s2l.TrajectoryRecorder(toy_pool, tmp_path / "run", epochs=3)
    with pytest.raises(SettingsError, match="--checkpoints '0'"):
        s2l.TrajectoryRecorder(toy_pool, tmp_path / "run", checkpoints=0)


def test_a_trainer_without_a_tokenizer_is_told_to_name_one(model: Path, toy_pool: Path, tmp_path: Path) -> None:
    trainer = trainer_of(model, tmp_path)
    recorder = s2l.TrajectoryRecorder(toy_pool, tmp_path / "run", **SMALL)
    with pytest.raises(SettingsError, match="tokenizer=… is needed"):
        recorder.on_train_begin(trainer.args, trainer.state, trainer.control, model=trainer.model)


def test_a_damaged_pool_is_an_error_before_the_first_step(model: Path, tmp_path: Path) -> None:
    recorder = s2l.TrajectoryRecorder(tmp_path / "none.jsonl", tmp_path / "run", **SMALL)
    trainer = trainer_of(model, tmp_path, recorder)
    for _ in range(2):  # the folder is not left locked
        with pytest.raises(s2l.errors.S2LError, match=r"none\.jsonl"):
            trained(trainer)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_adapters_are_scored_with_the_model(model: Path, toy_pool: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    trainer = trainer_of(model, tmp_path)
    adapted = get_peft_model(
        trainer.model, LoraConfig(target_modules=["c_attn"], lora_dropout=0.1, fan_in_fan_out=True, r=4)
    )
    recorder = s2l.TrajectoryRecorder(toy_pool, tmp_path / "run", tokenizer=trainer.processing_class, **SMALL)
    settings = trainer_of(model, tmp_path, learning_rate=0.05).args
    from transformers import Trainer

    adapter = Trainer(
        model=adapted,
        args=settings,
        train_dataset=trainer.train_dataset,
        data_collator=padded,
        callbacks=[recorder],
    )
    trained(adapter)
    tokens = tokens_of(tmp_path / "run")
    losses_NT = store.load(tmp_path / "run" / "trajectories", SAVES).losses_NT
    adapted.eval()
    rows = range(0, len(tokens), 29)
    np.testing.assert_allclose(losses_NT[rows, -1], [loss_of_one_row(adapted, tokens, row) for row in rows], atol=1e-5)
    assert np.abs(losses_NT[:, 0] - losses_NT[:, -1]).max() > 0.01


def test_rows_cannot_be_added_where_no_weights_were_kept(recorded: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(recorded / "run", tmp_path / "run"))
    more = write_jsonl(tmp_path / "more.jsonl", toy_rows()[:3])
    outcome = command("record", run, "--add", more)
    assert outcome.code == FOLDER and "weights were not kept" in outcome.error
    assert files_of(run) == files_of(recorded / "run")


def test_a_folder_of_which_no_step_is_recorded_gives_way_to_another_training(
    model: Path, toy_pool: Path, tmp_path: Path
) -> None:
    """As where memory ran out in the first step, and the trainer begins again with smaller batches."""
    recorder = s2l.TrajectoryRecorder(toy_pool, tmp_path / "run", initial_checkpoint=True, **SMALL)
    with pytest.raises(KeyboardInterrupt):
        trained(trainer_of(model, tmp_path, recorder, Stop(1), per_device_train_batch_size=8))
    other = trainer_of(model, tmp_path, recorder)
    other.processing_class.add_tokens(["<more>"])
    other.model.resize_token_embeddings(len(other.processing_class), mean_resizing=False)
    trained(other)
    found = manifest(tmp_path / "run")["proxy"]
    assert (found["plan"]["batch_size"], found["start"]["parameters"]) == (4, other.model.num_parameters())
    assert "<more>" in (tmp_path / "run/tokenizer/tokenizer.json").read_text(encoding="utf-8")


def test_a_training_that_goes_on_from_other_weights_is_refused(model: Path, toy_pool: Path, tmp_path: Path) -> None:
    def trainer(name: str, *more: TrainerCallback):
        recorder = s2l.TrajectoryRecorder(toy_pool, tmp_path / "run", **SMALL)
        return trainer_of(model, tmp_path / name, recorder, *more, save_strategy="steps", save_steps=2)

    with pytest.raises(KeyboardInterrupt):
        trained(trainer("one", Stop(7)))
    other = trainer_of(model, tmp_path / "other", Stop(7), save_strategy="steps", save_steps=2)
    with torch.no_grad():
        other.model.lm_head.weight += 0.01
    with pytest.raises(KeyboardInterrupt):
        trained(other)
    for step in (4, 6):
        with pytest.raises(RunFolderError, match=f"goes on at step {step} from other weights"):
            trained(trainer("one"), resume_from_checkpoint=str(tmp_path / "other" / f"checkpoint-{step}"))
    trained(trainer("one"), resume_from_checkpoint=str(tmp_path / "one/checkpoint-4"))
    assert (tmp_path / "run/manifest.json").is_file() and not (tmp_path / "run/saved").exists()


@pytest.mark.parametrize("where", ["write_item", "keep"])
def test_whatever_goes_wrong_on_the_way_the_training_goes_on(
    model: Path, toy_pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def fail(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(*((store, where) if where == "write_item" else (recording, where)), fail)
    recorder = s2l.TrajectoryRecorder(toy_pool, tmp_path / "run", **SMALL)
    with pytest.warns(UserWarning, match="no more is recorded, the training goes on: PermissionError: .*denied"):
        losses, _ = trained(trainer_of(model, tmp_path, recorder, save_strategy="steps", save_steps=2))
    assert len(losses) == STEPS
