"""What a run tells of its rows beside their losses: against the checkpoint itself, and recorded once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from s2l.errors import DataError, MachineError, RunFolderError
from s2l.files import remove
from s2l.flags import validated
from s2l.progress import SILENT, Silent
from s2l.proxy.checkpoints import load_model
from s2l.run_folder import RunFolder
from s2l.scoring import represent
from s2l.scoring.embed import embed
from s2l.scoring.represent import RunRepresentations, example_tokens
from s2l.scoring.score import Scorer, score
from s2l.scoring.setup import SCORER, keep_scorer, kept_scorer
from s2l.types import STATISTICS
from toy_models import loss_of_one_row
from toy_runs import toy_rows, write_jsonl

SOME = np.array([3, 20, 21, 60, 90, 100])


class Listening(Silent):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


def of(run: Path, progress: Silent = SILENT) -> RunRepresentations:
    steps = sorted(int(path.name.removeprefix("step-")) for path in (run / "proxy").glob("step-*"))
    return RunRepresentations(RunFolder(run), tuple(steps), progress)


def test_what_a_checkpoint_tells_is_told_of_every_row_in_id_order(own_run: Path) -> None:
    more = of(own_run)
    tokens, every = more.tokens, np.arange(len(more.tokens))
    model = load_model(more.checkpoint(1), torch.device("cpu"))
    assert len(tokens) == 148
    for pooling in ("response", "position"):
        np.testing.assert_allclose(more.embeddings(pooling, 1), embed(model, tokens, every, pooling, 500), atol=1e-5)
    alone = represent.response_alone(tokens, more.tokenizer.eos_token_id)
    for row in (0, 77, 147):
        assert more.losses_alone(1)[row] == pytest.approx(loss_of_one_row(model, alone, row), abs=1e-5)
    assert more.gradient_norms("head", 1).shape == more.gradient_norms("all", 1).shape == (148,)


def test_it_is_recorded_once_and_says_before_what_that_takes(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Listening()
    first = of(own_run, heard).embeddings("response", -1)
    norms = of(own_run, heard).gradient_norms("all", 0)
    steps = of(own_run).steps
    assert heard.lines == [
        f"embeddings-response at step {steps[-1]} is not recorded yet: "
        "it takes as much as 1 of the run's 4 recordings, once",
        f"gradient-norm-all at step {steps[0]} is not recorded yet: "
        "it takes as much as 3 of the run's 4 recordings, once",
    ]
    monkeypatch.setattr(represent, "load_model", None)
    assert np.array_equal(of(own_run, heard).embeddings("response", -1), first)
    assert np.array_equal(of(own_run, heard).gradient_norms("all", 0), norms)
    assert len(heard.lines) == 2


def test_after_training_on_some_rows_it_is_that_proxy_that_tells(own_run: Path) -> None:
    more = of(own_run)
    every = np.arange(len(more.tokens))
    begun, trained = more.after(SOME[:0]), more.after(SOME)
    assert more.after(SOME[::-1]) == trained
    assert (begun.step, trained.step) == (0, 3)
    for checkpoint, rows in ((begun, SOME[:0]), (trained, SOME)):
        model = load_model(checkpoint, torch.device("cpu"))
        sums = score(model, more.tokens, every, Scorer(500, torch.device("cpu"), "float32"))
        for statistic in ("p_max", "p_target"):
            expected = sums[STATISTICS.index(statistic)] / more.tokens.response_lengths
            np.testing.assert_allclose(more.means_after(statistic, rows), expected, atol=1e-5)
        expected = embed(model, more.tokens, every, "response", 500)
        np.testing.assert_allclose(more.embeddings_after(rows), expected, atol=1e-5)
    assert more.means_after("p_target", SOME).mean() > more.means_after("p_target", SOME[:0]).mean()


def test_examples_are_tokenized_as_the_pool_was_in_the_order_of_their_ids(own_run: Path, tmp_path: Path) -> None:
    more = of(own_run)
    examples = write_jsonl(tmp_path / "examples.jsonl", toy_rows()[5:9])
    tokens = example_tokens(str(examples), more.settings, more.tokenizer)
    places = np.searchsorted(more.tokens.ids, tokens.ids)
    assert more.tokens.ids[places].tolist() == tokens.ids.tolist()
    found = more.example_embeddings(str(examples), "position", 2)
    np.testing.assert_allclose(found, more.embeddings("position", 2)[places], atol=1e-5)


def test_examples_need_not_have_the_pools_columns_but_may(tmp_path: Path, own_run: Path) -> None:
    more = of(own_run)
    rows = [{"ask": row["instruction"], "say": row["output"], "good": "yes"} for row in toy_rows()[5:9]]
    pool = {"paths": ["pool.jsonl"], "columns": {"prompt": "ask", "response": "say"}, "where": {"good": "yes"}}
    made = validated({**more.settings.model_dump(), "pool": pool})
    rows.append({**rows[0], "good": "no"})
    as_the_pool = example_tokens(str(write_jsonl(tmp_path / "a.jsonl", rows)), made, more.tokenizer)
    recognised = example_tokens(str(write_jsonl(tmp_path / "b.jsonl", toy_rows()[5:9])), made, more.tokenizer)
    assert len(as_the_pool) == len(recognised) == 4
    assert sorted(as_the_pool.input_ids.tolist()) == sorted(recognised.input_ids.tolist())
    with pytest.raises(DataError, match=r"c\.jsonl:2: .*--bad-rows"):
        example_tokens(str(write_jsonl(tmp_path / "c.jsonl", [rows[0], {**rows[1], "say": [7]}])), made, more.tokenizer)


def test_what_is_damaged_or_gone_is_one_line(own_run: Path) -> None:
    more = of(own_run)
    more.embeddings("response", 0)
    (shard,) = (own_run / "representations").rglob("shard-*.parquet")
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(RunFolderError, match="damaged; remove the file"):
        more.embeddings("response", 0)
    remove(more.checkpoint(1).path)
    with pytest.raises(RunFolderError, match="is gone; the method needs it"):
        more.embeddings("response", 1)


def test_too_little_memory_is_one_line(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(represent, "embed", full)
    with pytest.raises(MachineError, match="--batch-tokens"):
        of(own_run).embeddings("response", 0)


def test_rows_that_must_be_read_alone_are(own_run: Path) -> None:
    more = of(own_run)
    kept = more.scorer
    assert kept.precision == "float32"
    keep_scorer(replace(kept, path="alone"), own_run / "trajectories")
    assert of(own_run).scorer.batch_tokens == 1


def test_without_the_file_the_scorer_is_what_the_plan_says(own_run: Path, tmp_path: Path) -> None:
    more = of(own_run)
    plan = more.plan
    kept = kept_scorer(plan, own_run / "trajectories")
    assert (kept.path, kept.batch_tokens) == ("trunk", 2 * plan.batch_tokens)
    (own_run / "trajectories" / SCORER).unlink()
    assert kept_scorer(plan, own_run / "trajectories") == replace(kept, path=None, batch_tokens=plan.batch_tokens)
    assert more.embeddings("response", 0).shape[0] == len(more.tokens)
