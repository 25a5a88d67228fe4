"""A model as lm-evaluation-harness sees it, and one of our tasks run through the harness; imports lm_eval."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import lm_eval.api.task
from lm_eval.api.model import LM
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from s2l.data.templates import Segment
from s2l.progress import Progress
from s2l.target.answers.symbolic import Prover
from s2l.target.evaluate_settings import EvaluateSettings, place_and_config
from s2l.target.evaluated import Evaluated, text_of
from s2l.target.generate import Output, generate
from s2l.target.tasks import FOLDER, judged
from s2l.types import Turn


class Answering(LM):  # type: ignore[misc]
    """Writes outputs, greedily; `outputs` are those of the last task, in the order of its questions."""

    def __init__(self, evaluated: Evaluated, settings: EvaluateSettings, workers: int, progress: Progress) -> None:
        super().__init__()
        self.evaluated, self.settings, self.workers, self.progress = evaluated, settings, workers, progress
        self.outputs: list[Output] = []

    def apply_chat_template(self, chat_history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
        """What the harness asks for a prompt: in the model's own template, whether that is for chats or not."""
        assert add_generation_prompt
        (question,) = chat_history
        return text_of(self.evaluated.prompt([Turn("user", question["content"])]))

    @property
    def tokenizer_name(self) -> str:
        """For the harness."""
        return self.evaluated.name

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:  # noqa: ARG002
        """An output for each request."""
        evaluated = self.evaluated
        task = requests[0].doc["task"]
        most = self.settings.max_new_tokens or int(requests[0].args[1]["max_gen_toks"])
        with self.progress.stage(f"answer {task}", len(requests), "questions") as advance:
            self.outputs = generate(
                evaluated.model,
                evaluated.encode([[Segment(request.args[0], counted=False)] for request in requests]),
                most,
                ends=evaluated.ends,
                window=evaluated.window,
                batch_tokens=self.settings.batch_tokens,
                workers=self.workers,
                advance=advance,
            )
        return [evaluated.decode(output.ids) for output in self.outputs]

    def loglikelihood(self, requests: Sequence[Any]) -> Any:
        """None of our tasks asks for it."""
        raise NotImplementedError

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> Any:
        """None of our tasks asks for it."""
        raise NotImplementedError


def run_task(
    task: str, path: str, limit: int | None, model: LM, prover: Prover
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The figures of one task, and a row for each of its questions: question, gold answer, output, verdict."""
    path, config = place_and_config(path)

    def own_judged(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
        return judged(doc, results, prover)

    asked = {"task": task, "path": path, "config": config, "limit": limit}
    with _quiet():
        manager = TaskManager(include_path=str(FOLDER), include_defaults=False)
        own = {"task": task, "dataset_kwargs": asked, "process_results": own_judged}
        loaded = manager.load([{"group": "asked", "task": [own]}])["tasks"]
        found = evaluate(model, {"tasks": loaded}, bootstrap_iters=1, apply_chat_template=True)
    assert found is not None
    figures, samples = found["results"][task], found["samples"][task]
    stderr = figures["accuracy_stderr,none"]
    rows = [
        {
            "id": sample["doc"]["id"],
            "question": sample["doc"]["question"],
            "gold": sample["doc"]["answer"],
            "prompt": sample["arguments"][0][0],
            "output": sample["resps"][0][0],
            "answer": sample["verdict"].answer,
            "right": sample["verdict"].right,
            "by": sample["verdict"].by,
        }
        for sample in samples
    ]
    told = {
        "accuracy": figures["accuracy,none"],
        "stderr": None if isinstance(stderr, str) else stderr,
        "n": len(rows),
        "of": samples[0]["doc"]["of"],
        "decided_by": figures["verdict,none"],
    }
    return told, rows


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing of the harness shows in the block: one line of ours tells what went wrong."""
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] in {"lm_eval", "datasets"}]
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    bar, lm_eval.api.task.tqdm = lm_eval.api.task.tqdm, lambda items, **_: items
    try:
        yield
    finally:
        lm_eval.api.task.tqdm = bar
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
