"""Models of others: from a folder or the hub, never their code, never a pickle."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file

from s2l.errors import MachineError, S2LError, SettingsError
from s2l.proxy.builtin import fit_tokenizer
from s2l.proxy.load import digest, load_pretrained, load_tokenizer, resolve
from toy_models import VOCABULARY, WINDOW, toy_model


def folder_of(path: Path, architecture: str = "builtin") -> Path:
    toy_model(architecture).save_pretrained(path)
    fit_tokenizer(["some text"], VOCABULARY).save_pretrained(path)
    return path


@pytest.fixture
def folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Path:
    path = folder_of(tmp_path / "model")
    capfd.readouterr()
    return path


def refusal(error: type[S2LError], action: Callable[[], object]) -> str:
    with pytest.raises(error) as raised:
        action()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_local_folder_is_used_as_it_is(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert resolve(str(folder), None) == folder
    model, expected = load_pretrained(folder, VOCABULARY, WINDOW), toy_model()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))
    assert load_tokenizer(folder).decode(load_tokenizer(folder).encode("some text")) == "some text"
    assert capfd.readouterr() == ("", "")


def test_a_model_in_bfloat16_is_loaded_as_float32(tmp_path: Path) -> None:
    toy_model("llama-tied").to(torch.bfloat16).save_pretrained(tmp_path)
    assert {parameter.dtype for parameter in load_pretrained(tmp_path, 10, 10).parameters()} == {torch.float32}


def test_weights_in_a_pickle_are_not_read(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert "no causal language model in safetensors here" in refusal(
        SettingsError, lambda: load_pretrained(folder, 10, 10)
    )


def test_a_folder_without_a_model_is_one_line(tmp_path: Path) -> None:
    assert str(tmp_path) in refusal(SettingsError, lambda: load_pretrained(tmp_path, 10, 10))
    assert "no usable tokenizer" in refusal(SettingsError, lambda: load_tokenizer(tmp_path))


@pytest.mark.parametrize("model_type", ["gpt_neox", "someones_own"])
def test_the_code_of_a_model_is_never_run(folder: Path, model_type: str, tmp_path: Path) -> None:
    """Where transformers knows the architecture its own code is used; else the model is refused."""
    trap = tmp_path / "trap"
    (folder / "own.py").write_text(f"open({str(trap)!r}, 'w')\nclass Own: pass\n")
    auto_map = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own", "AutoTokenizer": ["own.Own", None]}
    edit(folder / "config.json", auto_map=auto_map, model_type=model_type, architectures=["Own"])
    if model_type == "gpt_neox":
        load_pretrained(folder, 10, 10)
    else:
        assert "no causal language model" in refusal(SettingsError, lambda: load_pretrained(folder, 10, 10))
    edit(folder / "tokenizer_config.json", auto_map=auto_map, tokenizer_class="Own")
    try:
        load_tokenizer(folder)
    except SettingsError as error:
        assert "\n" not in str(error)
    assert not trap.exists()


def test_a_missing_tokenizer_is_one_line(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    assert str(folder) in refusal(SettingsError, lambda: load_tokenizer(folder))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\x00\x1b[31m" * 999])
def test_a_damaged_file_is_one_line(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)
    try:
        if name.startswith("tokenizer"):
            load_tokenizer(folder)
        else:
            load_pretrained(folder, 10, 10)
    except SettingsError as error:
        assert "\n" not in str(error)
        assert "\x1b" not in str(error)
    else:
        assert name == "tokenizer_config.json"


def test_a_tensor_that_is_missing_is_not_made_up(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["gpt_neox.layers.1.attention.dense.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    line = refusal(SettingsError, lambda: load_pretrained(folder, 10, 10))
    assert "lack 1 tensors of the model, such as gpt_neox.layers.1.attention.dense.weight" in line


def test_tensors_of_another_shape_are_one_line(folder: Path) -> None:
    edit(folder / "config.json", intermediate_size=7)
    refusal(SettingsError, lambda: load_pretrained(folder, 10, 10))


def test_a_vocabulary_above_the_embedding_says_both_numbers(folder: Path) -> None:
    line = refusal(SettingsError, lambda: load_pretrained(folder, VOCABULARY + 1, 10))
    assert line == f"{folder}: its tokenizer has {VOCABULARY + 1} entries, its embedding only {VOCABULARY}"


@pytest.mark.parametrize("architecture", ["builtin", "gpt2", "llama-tied"])
def test_a_window_above_the_models_says_what_to_ask_for(tmp_path: Path, architecture: str) -> None:
    folder = folder_of(tmp_path, architecture)
    line = refusal(SettingsError, lambda: load_pretrained(folder, 10, WINDOW + 1))
    assert line == f"{folder}: reads at most {WINDOW} tokens; --max-length is {WINDOW + 1}: ask for {WINDOW}"


@pytest.mark.parametrize("offline", [True, False])
def test_an_unreachable_hub_names_both_ways_out_at_once(
    offline: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    start = time.monotonic()
    line = refusal(MachineError, lambda: resolve("EleutherAI/pythia-70m-deduped", None))
    assert line.startswith("'EleutherAI/pythia-70m-deduped': the hub cannot be reached and the cache has no copy")
    assert "--proxy PATH" in line
    assert "--proxy builtin" in line
    assert time.monotonic() - start < 5
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "name", ["./nowhere", "/no/where", "~/model", "a/b/c", "not a hub id", "a/\x1b[31m", "", "x" * 999]
)
def test_a_name_that_is_neither_folder_nor_hub_id_is_one_line(name: str) -> None:
    line = refusal(S2LError, lambda: resolve(name, None))
    assert "\x1b" not in line
    assert len(line) < 250


def test_the_digest_is_of_names_and_bytes_of_what_makes_the_model(folder: Path, tmp_path: Path) -> None:
    before = digest(folder)
    assert digest(folder_of(tmp_path / "again")) == before
    (folder / "README.md").write_text("prose")
    assert digest(folder) == before
    edit(folder / "config.json", rope_theta=7)
    assert digest(folder) != before
    (folder / "config.json").rename(folder / "other.json")
    assert digest(folder) != before
