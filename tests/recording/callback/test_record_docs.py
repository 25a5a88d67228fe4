"""The examples of docs/record.md train, and record, as they stand there."""

import re
from pathlib import Path

import pytest
from toy_trainings import sft, tiny_gpt2

from s2l.proxy.quiet import quiet
from toy_runs import manifest, s2l, toy_rows, write_jsonl

PAGE = (Path(__file__).parents[3] / "docs" / "record.md").read_text(encoding="utf-8")
EXAMPLES = [code for code in re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S) if ".train()" in code]
OWN_ROWS, *WHOLE = EXAMPLES


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("code", WHOLE, ids=["Trainer", "SFTTrainer"])
def test_the_example_leaves_a_run_to_draw_from(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_gpt2(tmp_path / "model")
    write_jsonl(tmp_path / "pool.jsonl", toy_rows()[:40])
    monkeypatch.chdir(tmp_path)
    small = code.replace("EleutherAI/pythia-70m-deduped", "model").replace("=3, ", "=1, use_cpu=True, ")
    assert small.count("use_cpu") == 1
    with quiet():
        exec(compile(small, "record.md", "exec"), {"__name__": "example"})
    assert len(manifest(tmp_path / "recorded")["proxy"]["checkpoints"]) == 5  # of 40 rows by 8
    drawn = s2l("select", "recorded", "--budget", "11%", "--set", "clusters=3")
    assert drawn.code == 0, drawn.err


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing`:FutureWarning")
def test_rows_as_the_trainer_has_them_are_drawn_from_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = sft(tiny_gpt2(tmp_path / "model"), tmp_path / "trained", max_length=256)
    monkeypatch.chdir(tmp_path)
    with quiet():
        exec(compile(OWN_ROWS.replace("1024", "256"), "record.md", "exec"), {"__name__": "example", "trainer": trainer})
    (subset,) = (tmp_path / "recorded/subsets").iterdir()
    assert manifest(subset)["rows"] == round(0.11 * len(trainer.train_dataset))
