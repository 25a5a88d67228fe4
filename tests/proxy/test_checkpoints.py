"""Snapshots of the proxy on disk."""

import json
import os
from pathlib import Path

import pytest
import torch

from s2l.errors import MachineError, RunFolderError
from s2l.files import PART
from s2l.proxy import checkpoints
from s2l.types import Checkpoint
from toy_models import ARCHITECTURES, toy_model

CPU = torch.device("cpu")


@pytest.fixture
def saved(tmp_path: Path) -> Checkpoint:
    return checkpoints.save(toy_model(), tmp_path, 7)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_checkpoint_comes_back_bit_for_bit(architecture: str, tmp_path: Path) -> None:
    model = toy_model(architecture)
    with torch.no_grad():
        model.get_input_embeddings().weight[0] += 3.25  # the end token's row, which the authors' code overwrites
    checkpoint = checkpoints.save(model, tmp_path, 7)
    assert checkpoints.find(tmp_path, 7) == checkpoint
    loaded = checkpoints.load_model(checkpoint, CPU)
    expected, found = model.state_dict(), loaded.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}
    tied = loaded.get_input_embeddings().weight.data_ptr() == loaded.get_output_embeddings().weight.data_ptr()
    assert tied == bool(model.config.tie_word_embeddings)


def test_the_same_model_gives_the_same_digest_and_no_pickle(tmp_path: Path) -> None:
    first, second = (checkpoints.save(toy_model(), tmp_path / name, 1) for name in "ab")
    assert first.sha256 == second.sha256
    assert {path.suffix for path in first.path.iterdir()} == {".json", ".safetensors"}


def test_what_was_not_saved_is_not_found(tmp_path: Path) -> None:
    assert checkpoints.find(tmp_path, 1) is None


def test_saving_again_replaces(saved: Checkpoint, tmp_path: Path) -> None:
    again = checkpoints.save(toy_model(seed=1), tmp_path, 7)
    assert checkpoints.find(tmp_path, 7) == again != saved


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "a bit of the weights": lambda folder: flip_a_bit(folder / "model.safetensors"),
    "the weights cut short": lambda folder: os.truncate(folder / "model.safetensors", 1000),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "no record": lambda folder: (folder / "checkpoint.json").unlink(),
    "a record of nonsense": lambda folder: (folder / "checkpoint.json").write_text('{"sha'),
    "a record that is a list": lambda folder: (folder / "checkpoint.json").write_text("[1]"),
    "no configuration": lambda folder: (folder / "config.json").unlink(),
    "a configuration of nonsense": lambda folder: (folder / "config.json").write_text("{"),
    "a configuration of another width": lambda folder: (folder / "config.json").write_text(
        json.dumps(json.loads((folder / "config.json").read_text()) | {"intermediate_size": 64})
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_one_line_that_says_what_to_do(damage: str, saved: Checkpoint, tmp_path: Path) -> None:
    DAMAGES[damage](saved.path)
    with pytest.raises(RunFolderError) as error:
        found = checkpoints.find(tmp_path, 7)
        assert found is not None
        checkpoints.load_model(found, CPU)
    assert str(error.value).startswith(f"{saved.path}: this checkpoint is damaged or missing; remove the folder")
    assert "\n" not in str(error.value)


def test_a_kill_while_writing_leaves_no_checkpoint_but_the_old_one(
    saved: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between the weights and the record, by what no handler catches."""

    def die(path: Path, value: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_json", die)
        for step in (7, 8):
            with pytest.raises(KeyboardInterrupt):
                checkpoints.save(toy_model(seed=1), tmp_path, step)
            assert (tmp_path / f"step-{step:08d}{PART}" / "model.safetensors").is_file()
    assert checkpoints.find(tmp_path, 7) == saved
    assert checkpoints.find(tmp_path, 8) is None
    assert checkpoints.save(toy_model(), tmp_path, 8).sha256 == saved.sha256
    assert not (tmp_path / f"step-00000008{PART}").exists()


def test_a_full_disk_is_one_line_and_leaves_nothing_behind(tmp_path: Path, full_disk) -> None:
    model = toy_model()
    with full_disk(100_000), pytest.raises(MachineError, match="no room on the disk; nothing is lost"):
        checkpoints.save(model, tmp_path, 7)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    checkpoints.load_model(checkpoints.save(toy_model(), tmp_path, 7), CPU)
    assert capfd.readouterr() == ("", "")
