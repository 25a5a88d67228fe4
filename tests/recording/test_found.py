"""Which checkpoints are found, in which order, and what is refused with the command that converts it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from s2l.errors import SettingsError
from s2l.recording.found import find_checkpoints, gaps
from toy_runs import tiny_llama


class Notes:
    """Progress that keeps what is noted."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)

    def stage(self, *_: object) -> object:
        raise AssertionError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("model") / "llama")


@pytest.fixture
def put(model: Path, tmp_path: Path) -> Callable[..., Path]:
    """A checkpoint of the name, with weights of its own unless they are `same`."""

    def put(name: str, *, same: bool = False, step: int | None = None) -> Path:
        folder = Path(shutil.copytree(model, tmp_path / "out" / name))
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | ({} if same else {"name": name})))
        if step is not None:
            (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
        return folder

    return put


def found(*named: Path | str) -> tuple[list[int], list[str]]:
    notes = Notes()
    return [left.step for left in find_checkpoints([str(name) for name in named], notes)], notes.lines  # type: ignore[arg-type]


def refused(*named: Path | str) -> str:
    with pytest.raises(SettingsError) as error:
        found(*named)
    return str(error.value)


def test_checkpoints_are_ordered_by_step_not_by_name(put, tmp_path):
    for name in ("checkpoint-1000", "checkpoint-500", "checkpoint-1500"):
        put(name)
    (tmp_path / "out/runs").mkdir()
    (tmp_path / "out/tmp-checkpoint-2000").mkdir()
    assert found(tmp_path / "out") == ([500, 1000, 1500], [])


def test_folders_may_be_named_one_by_one_and_told_their_step(put):
    first, last = put("epoch_1"), put("final")
    assert found(f"{last}@9", first) == ([1, 9], [])
    assert "of which step? write FOLDER@STEP" in refused(last)


def test_trainers_record_tells_the_step_before_the_name_does(put):
    assert found(put("best-1", step=700))[0] == [700]


def test_gaps_are_named(put, tmp_path):
    for step in (2, 4, 8, 9):
        put(f"checkpoint-{step}")
    put("checkpoint-6")
    shutil.rmtree(tmp_path / "out/checkpoint-6")
    assert gaps([100, 200, 400, 500, 530]) == [300]
    assert gaps([200, 300, 400]) == [100]
    assert gaps([1, 2, 4, 8, 16, 512, 1000]) == []
    assert gaps([7]) == []
    put("checkpoint-10")
    assert found(tmp_path / "out")[0] == [2, 4, 8, 9, 10]


def test_the_same_checkpoint_twice_is_one_and_named(put, tmp_path):
    put("checkpoint-2")
    shutil.copytree(tmp_path / "out/checkpoint-2", tmp_path / "other/checkpoint-2")
    steps, notes = found(tmp_path / "out", tmp_path / "other")
    assert steps == [2]
    assert any("step 2 is there twice" in note for note in notes)


def test_two_checkpoints_of_one_step_are_refused(put):
    assert "two checkpoints of step 2" in refused(put("a-2"), put("b-2"))


def test_equal_weights_at_two_steps_are_named(put, tmp_path):
    put("checkpoint-2", same=True), put("checkpoint-4", same=True)
    assert "steps 2 and 4 hold the same weights" in found(tmp_path / "out")[1]


def test_checkpoints_of_another_model_are_refused(put):
    first, other = put("checkpoint-2"), put("checkpoint-4")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    assert "num_hidden_layers is '3', not '2'" in refused(first, other)


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("pytorch_model_fsdp_0/__0_0.distcp", "sharded by FSDP; convert it: accelerate merge-weights"),
        ("__0_0.distcp", "sharded by FSDP; convert it: accelerate merge-weights"),
        ("global_step5/zero_pp_rank_0_mp_rank_00_optim_states.pt", "sharded by DeepSpeed; convert it: python"),
        ("zero_to_fp32.py", "sharded by DeepSpeed; convert it: python"),
        ("pytorch_model.bin", "pytorch_model.bin is a pickle"),
        ("pytorch_model-00001-of-00002.bin", "is a pickle"),
        ("model.pt", "model.pt is a pickle"),
        ("adapter_model.bin", "AutoPeftModelForCausalLM"),
    ],
)
def test_sharded_states_and_pickles_are_refused_with_the_command_that_converts_them(file, told, put, tmp_path):
    folder = put("checkpoint-5")
    (folder / "model.safetensors").unlink()
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_bytes(b"never read")
    line = refused(tmp_path / "out")
    assert told in line
    assert "checkpoint-5" in line
    assert "\n" not in line


def test_a_folder_without_checkpoints_says_what_one_is(tmp_path):
    assert "whose name ends in its step (checkpoint-500)" in refused(tmp_path)
    assert "no such folder; of a hub id name the revision" in refused("EleutherAI/pythia-14m")
    assert "does not end in its step" in refused("EleutherAI/pythia-14m@main")
