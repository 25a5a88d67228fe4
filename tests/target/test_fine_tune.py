"""Fine-tuning: our batches and labels, the loss, going on after a stop, adapters, training on from what is there."""

import json
import os
import random
import shutil
from contextlib import contextmanager
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from target_toys import asked, rows_for
from transformers import AutoModelForCausalLM, MambaConfig, MambaForCausalLM

from s2l.errors import NumericsError, RunFolderError, SettingsError
from s2l.files import read_json, sha256_of
from s2l.proxy.plan import Plan, global_batches
from s2l.target import fit as fitting
from s2l.target.model import find_model, load_model, make_model, template_in, tokenizer_in
from s2l.target.passes import IGNORED
from s2l.target.schedule import amount_seen, flops_of
from s2l.target.train import train
from s2l.target.trainer import TargetTrainer
from toy_models import loss_of_one_row
from toy_runs import StopAfter, files_of, tiny_llama


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("llama") / "base")


@pytest.fixture
def padded(monkeypatch: pytest.MonkeyPatch) -> None:
    """TRL's own passes, where a CPU would take steps."""

    @contextmanager
    def none(*_given):
        yield None

    monkeypatch.setattr(fitting, "_stepper", none)


def weights_of(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / "model.safetensors")


def batches_of(record, rows) -> list[np.ndarray]:
    """Rows of every step, by the plan in the record."""
    return global_batches(rows.tokens.ids, Plan.from_json(record["plan"]))


def digest_of(out: Path) -> str:
    (weights,) = (out / "model").glob("*.safetensors")
    return sha256_of(weights)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """What the model is given in every pass."""
    passes, compute = [], TargetTrainer.compute_loss

    def watched(self, model, inputs, *given, **named):
        passes.append({name: value.clone() for name, value in inputs.items() if isinstance(value, torch.Tensor)})
        return compute(self, model, inputs, *given, **named)

    monkeypatch.setattr(TargetTrainer, "compute_loss", watched)
    return passes


def rows_in(batch: dict[str, torch.Tensor], packing: bool) -> list[tuple[list[int], list[int]]]:
    """Input ids and labels of every row of a pass, its padding taken off."""
    if packing:
        starts = (batch["position_ids"][0] == 0).nonzero().flatten().tolist()
        parts = [slice(a, b) for a, b in zip(starts, [*starts[1:], None], strict=True)]
        return [(batch["input_ids"][0, part].tolist(), batch["labels"][0, part].tolist()) for part in parts]
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    assert all((row[length:] == IGNORED).all() for row, length in zip(batch["labels"], lengths, strict=True))
    return [
        (ids[:length].tolist(), labels[:length].tolist())
        for ids, labels, length in zip(batch["input_ids"], batch["labels"], lengths, strict=True)
    ]


@pytest.mark.parametrize("packing", [False, True])
def test_every_batch_holds_the_planned_rows_with_our_labels(packing, toy_pool, tmp_path, padded, seen) -> None:
    settings = asked(packing=packing, rows_at_once=5, max_length=20)
    rows = rows_for(toy_pool, settings)
    record = train(rows, settings, tmp_path)
    tokens = rows.tokens
    passes = -(-32 // 5)
    assert len(seen) == record["steps"] * passes
    assert tokens.truncated_N.any()
    for step, planned in enumerate(batches_of(record, rows)):
        expected = []
        for row in planned:
            span = slice(*tokens.start_N[row : row + 2])
            ids = tokens.input_ids[span].tolist()
            expected.append((ids, np.where(tokens.counted[span], ids, IGNORED).tolist()))
        found = [row for batch in seen[step * passes :][:passes] for row in rows_in(batch, packing)]
        real = [(ids, labels) for ids, labels in found if set(labels) != {IGNORED}]
        assert sorted(real) == sorted(expected)
        if not packing:
            sizes = [len(batch["input_ids"]) for batch in seen[step * passes :][:passes]]
            assert max(sizes) <= 5


def test_steps_padded_passes_and_packed_ones_have_the_same_losses(toy_pool, tmp_path, monkeypatch) -> None:
    settings = asked(epochs=3)
    rows = rows_for(toy_pool, settings)
    steps = train(rows, settings, tmp_path / "steps")

    @contextmanager
    def none(*_given):
        yield None

    monkeypatch.setattr(fitting, "_stepper", none)
    for name, more in {"padded": {}, "packed": {"packing": True}, "again": {"activation_checkpointing": True}}.items():
        train(rows, asked(epochs=3, **more), tmp_path / name)
        losses, theirs = (read_json(tmp_path / folder / "losses.json") for folder in ("steps", name))
        assert len(losses) == steps["steps"] == 15
        np.testing.assert_allclose(losses, theirs, atol=1e-5, rtol=0)
        for tensor, value in weights_of(tmp_path / "steps").items():
            torch.testing.assert_close(weights_of(tmp_path / name)[tensor], value, atol=1e-4, rtol=0)


@pytest.mark.parametrize("more", [{}, {"packing": True}])
def test_the_loss_is_the_sum_over_the_response_tokens_of_the_global_batch(more, toy_pool, tmp_path) -> None:
    settings = asked(**more)
    rows = rows_for(toy_pool, settings)
    record = train(rows, settings, tmp_path)
    tokens, model = rows.tokens, make_model(settings, rows.tokenizer)
    first = batches_of(record, rows)[0]
    nll = sum(loss_of_one_row(model, tokens, row) * tokens.response_lengths[row] for row in first)
    assert record["first_losses"][0] == pytest.approx(nll / tokens.response_lengths[first].sum(), abs=1e-5)
    assert record["last_losses"][-1] < record["first_losses"][0]


WAYS = {
    "steps": {},
    "packed": {"packing": True},
    "adapters with dropout": {"model": "llama", "lora_rank": 4, "lora_dropout": 0.2},
}


@pytest.fixture(scope="module", params=WAYS)
def unstopped(request, llama, toy_pool, tmp_path_factory):
    settings = asked(**WAYS[request.param])
    settings = settings.model_copy(update={"model": str(llama)}) if settings.model == "llama" else settings
    rows = rows_for(toy_pool, settings)
    out = tmp_path_factory.mktemp("unstopped")
    return settings, rows, train(rows, settings, out), digest_of(out)


@pytest.mark.parametrize("stops", [[1], [7], [4, 0, 3]])
def test_a_stopped_training_goes_on_to_the_same_bits(unstopped, stops, tmp_path) -> None:
    settings, rows, record, digest = unstopped
    for steps in stops:
        with pytest.raises(KeyboardInterrupt):
            train(rows, settings, tmp_path, StopAfter(steps))
    again = train(rows, settings, tmp_path)
    assert digest_of(tmp_path) == digest
    for name in ("first_losses", "last_losses", "steps", "tokens_seen", "flops", "trained_parameters"):
        assert again[name] == record[name]


def test_what_is_left_is_the_model_and_its_record(unstopped, tmp_path, capfd, monkeypatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # beartype draws which items of a list to check
    settings, rows, record, _ = unstopped
    before = random.getstate(), torch.get_rng_state()
    assert train(rows, settings, tmp_path)["first_losses"] == record["first_losses"]
    assert capfd.readouterr() == ("", "")
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    names = {path.name for path in tmp_path.iterdir()} - {".lock"}
    assert names == {"run.json", "start.json", "plan.json", "seconds.json", "losses.json", "training.json", "model"}
    assert not [name for name in files_of(tmp_path) if name.endswith((".bin", ".pt", ".pth", ".part"))]
    assert read_json(tmp_path / "model" / "s2l.json")["template"] == rows.template
    there = files_of(tmp_path)
    assert train(rows, settings, tmp_path, StopAfter(0)) == read_json(tmp_path / "training.json")
    assert files_of(tmp_path) == there


def test_a_stop_while_the_resume_state_is_removed_costs_nothing(unstopped, tmp_path, monkeypatch) -> None:
    settings, rows, record, digest = unstopped

    def half_removed(folder: Path) -> None:
        next(folder.glob("checkpoint-*/optimizer.pt")).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("s2l.target.train.remove", half_removed)
        with pytest.raises(KeyboardInterrupt):
            train(rows, settings, tmp_path)
    again = train(rows, settings, tmp_path, StopAfter(0))
    assert again["last_losses"] == record["last_losses"]
    assert digest_of(tmp_path) == digest
    assert not (tmp_path / "resume").exists()


def test_what_is_seen_and_what_it_costs_is_counted(toy_pool, tmp_path) -> None:
    settings = asked(epochs=2.5)
    rows = rows_for(toy_pool, settings)
    record = train(rows, settings, tmp_path)
    tokens = rows.tokens
    batches = batches_of(record, rows)
    assert record["steps"] == len(batches) == len(read_json(tmp_path / "losses.json")) == round(2.5 * 5)
    assert record["rows"] == len(tokens) == 148
    assert record["rows_seen"] == sum(map(len, batches))
    assert record["tokens_seen"] == sum(int(tokens.lengths[rows_B].sum()) for rows_B in batches)
    assert record["response_tokens_seen"] == sum(int(tokens.response_lengths[rows_B].sum()) for rows_B in batches)
    assert record["seconds"] > 0
    # 6 a trunk's weight and token at most, the head's at response tokens, and attention beside it
    trunk = 12 * 64**2 * record["tokens_seen"]
    assert 6 * trunk / 3 < record["flops"] < 6 * (trunk + 64 * 300 * record["response_tokens_seen"]) * 1.5


def test_another_seed_trains_another_model_and_the_same_the_same(toy_pool, tmp_path) -> None:
    digests = []
    for number, seed in enumerate((0, 0, 1)):
        settings = asked(seed=seed, epochs=1)
        train(rows_for(toy_pool, settings), settings, tmp_path / str(number))
        digests.append(digest_of(tmp_path / str(number)))
    assert digests[0] == digests[1] != digests[2]


def test_what_an_earlier_training_left_is_trained_on(toy_pool, tmp_path) -> None:
    first = asked(epochs=6)
    before = train(rows_for(toy_pool, first), first, tmp_path / "one")
    then = asked(model=str(tmp_path / "one"), learning_rate=1e-4, template="auto")
    rows = rows_for(toy_pool, then)
    assert rows.template == "short"
    after = train(rows, then, tmp_path / "two")
    assert after["first_losses"][0] < np.mean(before["last_losses"][-5:]) + 0.3 < before["first_losses"][0]
    assert template_in(find_model(str(tmp_path / "two"))) == "short"
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "two" / "model")
    assert model.generation_config.eos_token_id == rows.tokenizer.eos_token_id


def test_adapters_name_their_base_and_merge_into_it(llama, toy_pool, tmp_path) -> None:
    settings = asked(model=str(llama), lora_rank=4, lora_targets="q_proj,v_proj", learning_rate=0.05)
    rows = rows_for(toy_pool, settings)
    record = train(rows, settings, tmp_path / "lora")
    model = tmp_path / "lora" / "model"
    described = json.loads((model / "adapter_config.json").read_text())
    assert described["base_model_name_or_path"] == str(llama.resolve())
    assert (described["r"], described["lora_alpha"]) == (4, 8)
    assert record["trained_parameters"] == 2 * 2 * 4 * (32 + 32)
    full = flops_of(
        load_model(llama, rows.tokenizer, 64), amount_seen(rows.tokens, batches_of(record, rows)), lora=False
    )
    assert record["flops"] == pytest.approx(2 / 3 * full)
    assert not (model / "model.safetensors").exists()
    merged = load_model(model, tokenizer_in(model), 64)
    base = load_model(llama, tokenizer_in(llama), 64)
    changed = {name for name, value in merged.state_dict().items() if not torch.equal(value, base.state_dict()[name])}
    assert changed == {
        f"model.layers.{layer}.self_attn.{name}.weight" for layer in (0, 1) for name in ("q_proj", "v_proj")
    }
    on = asked(model=str(tmp_path / "lora"))
    after = train(rows_for(toy_pool, on), on, tmp_path / "on")
    assert after["first_losses"][0] < record["first_losses"][0]
    with pytest.raises(SettingsError, match="nothing to keep"):
        train(rows, asked(lora_rank=2), tmp_path / "no")
    with pytest.raises(SettingsError, match="adapters itself"):
        train(rows, on.model_copy(update={"lora_rank": 2}), tmp_path / "no")


@pytest.fixture(params=["from scratch", "published"])
def base(request, toy_pool, tmp_path) -> str:
    """A model to train on from: one that was trained here, or somebody else's."""
    if request.param == "published":
        if (folder := os.environ.get("S2L_SMALL_MODEL")) is None:
            pytest.skip("NO PUBLISHED MODEL IS TRAINED: S2L_SMALL_MODEL must name the folder of one, as stories260K")
        return folder
    first = asked(epochs=4)
    train(rows_for(toy_pool, first), first, tmp_path / "base")
    return str(tmp_path / "base" / "model")


@pytest.mark.parametrize("lora_rank", [None, 4])
def test_a_model_learns_by_all_its_weights_and_by_adapters(lora_rank, base, toy_pool, tmp_path) -> None:
    settings = asked(model=base, lora_rank=lora_rank, learning_rate=5e-3, epochs=4)
    rows = rows_for(toy_pool, settings)
    record = train(rows, settings, tmp_path / "out")
    start = load_model(Path(base), rows.tokenizer, 64)
    first = batches_of(record, rows)[0]
    nll = sum(loss_of_one_row(start, rows.tokens, row) * rows.tokens.response_lengths[row] for row in first)
    assert record["first_losses"][0] == pytest.approx(nll / rows.tokens.response_lengths[first].sum(), abs=1e-4)
    assert np.mean(record["last_losses"][-3:]) < np.mean(record["first_losses"][:3]) - 0.02
    assert (record["trained_parameters"] < record["parameters"]) == (lora_rank is not None)
    trained = tmp_path / "out" / "model"
    learned = load_model(trained, tokenizer_in(trained), 64)
    moved = {name for name, value in learned.state_dict().items() if not torch.equal(value, start.state_dict()[name])}
    assert moved and any("embed" in name for name in moved) == (lora_rank is None)
    loss = [sum(loss_of_one_row(model, rows.tokens, row) for row in first) for model in (start, learned)]
    assert loss[1] < loss[0]


def test_bfloat16_trains_and_keeps_float32(llama, toy_pool, tmp_path, padded) -> None:
    for number, more in enumerate(({}, {"model": str(llama), "lora_rank": 2})):
        settings = asked(precision="bfloat16", **more)
        record = train(rows_for(toy_pool, settings), settings, tmp_path / str(number))
        assert record["last_losses"][-1] < record["first_losses"][0]
        (weights,) = (tmp_path / str(number) / "model").glob("*.safetensors")
        assert {value.dtype for value in load_file(weights).values()} == {torch.float32}


def test_a_model_that_lets_packed_rows_see_each_other_is_refused(llama, toy_pool, tmp_path) -> None:
    shutil.copytree(llama, tmp_path / "mamba")
    (tmp_path / "mamba" / "model.safetensors").unlink()
    config = MambaConfig(vocab_size=400, hidden_size=32, num_hidden_layers=1, state_size=4, use_mambapy=False)
    MambaForCausalLM(config).save_pretrained(tmp_path / "mamba")
    settings = asked(model=str(tmp_path / "mamba"), packing=True)
    with pytest.raises(SettingsError, match="does not keep packed rows apart"):
        train(rows_for(toy_pool, settings), settings, tmp_path / "out")


@pytest.mark.parametrize("packing", [False, True])
def test_a_loss_that_is_not_finite_is_one_line(packing, llama, toy_pool, tmp_path) -> None:
    model = AutoModelForCausalLM.from_pretrained(llama)
    with torch.no_grad():
        model.lm_head.weight[3] = float("inf")
    shutil.copytree(llama, tmp_path / "broken")
    model.save_pretrained(tmp_path / "broken")
    settings = asked(model=str(tmp_path / "broken"), packing=packing)
    with pytest.raises((NumericsError, SettingsError), match=r"^[^\n]*$"):
        train(rows_for(toy_pool, settings), settings, tmp_path / "out")
    assert not (tmp_path / "out" / "model").exists()


def test_other_inputs_than_the_folders_are_refused_and_named(toy_pool, tmp_path) -> None:
    settings = asked()
    rows = rows_for(toy_pool, settings)
    with pytest.raises(KeyboardInterrupt):
        train(rows, settings, tmp_path, StopAfter(1))
    with pytest.raises(RunFolderError, match=r"--learning-rate was '0.001', now '0.01'; use another --out"):
        train(rows, settings.model_copy(update={"learning_rate": 0.01}), tmp_path)
    other = asked(max_length=20)
    with pytest.raises(RunFolderError, match=r"--max-length was '64', now '20'; the rows"):
        train(rows_for(toy_pool, other), other, tmp_path)
    with pytest.raises(SettingsError, match="not finished"):
        find_model(str(tmp_path))
    train(rows, settings.model_copy(update={"resume_points": 3}), tmp_path)


def test_what_the_trainer_turns_down_is_one_line(llama, toy_pool, tmp_path) -> None:
    for number, more in enumerate(
        ({"report_to": "abacus"}, {"model": str(llama), "lora_rank": 2, "lora_targets": "nothing"})
    ):
        settings = asked(**more)
        with pytest.raises(SettingsError, match=r"^the trainer turns this down: [^\n]*(abacus|nothing)"):
            train(rows_for(toy_pool, settings), settings, tmp_path / str(number))
