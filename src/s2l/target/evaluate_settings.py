"""What `s2l evaluate` can be asked; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from s2l.config import Paths, Settings
from s2l.data.url import without_secrets
from s2l.errors import SettingsError, printable, shown
from s2l.target.settings import TrainSettings

TASKS = ("gsm8k", "math", "numglue", "svamp", "mathematics", "simuleq")
ALSO_CALLED = {"mathematics": "deepmind"}


class EvaluateSettings(Settings):
    """What to measure, and on what."""

    tasks: tuple[str, ...] = Field((), description=f"Test sets, with commas between: {','.join(TASKS)}.")
    data: tuple[str, ...] = Field(
        (), description="Folder of TASK.jsonl files, or TASK=FILE,… (also TASK=HUB-ID or HUB-ID:CONFIG)."
    )
    heldout: Paths = Field((), description="Rows whose loss is measured, by source: files or URLs, commas between.")
    summaries: Annotated[str | None, BeforeValidator(without_secrets)] = Field(
        None, description="Rows to write a response for: ROUGE-L and BLEU against their own."
    )
    bertscore: str | None = Field(None, description="Folder of an encoder (RoBERTa, …): BERTScore too.")
    limit: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Questions of each set (and summaries): the first so many by id, the same for every model."
    )
    template: Literal["auto", "alpaca", "short", "chat"] = Field(
        "auto", description="auto: the one that s2l trained the model with, else Alpaca."
    )
    max_length: Annotated[int, Field(ge=2)] | None = Field(
        None, description="Tokens of a held-out row; that of the training, or 512, if not given."
    )
    max_new_tokens: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Tokens of an output; each set's own if not given."
    )
    batch_tokens: int = Field(16384, ge=16, description="Tokens in one pass, prompts and outputs.")
    revision: str | None = Field(None, description="Revision of a hub model.")
    device: str = Field("auto", description="auto, cpu, cuda, mps; choose a GPU by CUDA_VISIBLE_DEVICES.")
    threads: Annotated[int, Field(ge=1)] | None = Field(None, description="CPU threads; all if not given.")

    @field_validator("tasks", "data", "heldout", mode="before")
    @classmethod
    def _split(cls, written: Any) -> Any:
        if isinstance(written, str):
            written = written.split(",")
        return tuple(part.strip() for part in written) if isinstance(written, list | tuple) else written

    @field_validator("tasks")
    @classmethod
    def _known(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        for task in tasks:
            if task not in TASKS:
                raise SettingsError(f"no test set {shown(task)}; there are: {', '.join(TASKS)}")
        return tuple(dict.fromkeys(tasks))

    @property
    def measures(self) -> bool:
        """Whether anything is asked for."""
        return bool(self.tasks or self.heldout or self.summaries)

    def as_trained(self, training: TrainSettings, usual: str) -> EvaluateSettings:
        """The same of a model that was not trained yet: its revision, template and window are those of its training.

        usual: the template of a training that names none.
        """
        own = {
            "template": usual if training.template == "auto" else training.template,
            "max_length": training.max_length,
            "revision": training.revision,
        }
        return self.model_copy(update={name: own[name] for name in own if getattr(self, name) in {None, "auto"}})

    def require(self) -> None:
        """Raise SettingsError where nothing is asked for, or a test set has no data."""
        if not self.measures:
            raise SettingsError("say what to measure: --heldout FILE, --tasks NAME,… with --data, --summaries FILE")
        if self.bertscore is not None and self.summaries is None:
            raise SettingsError("--bertscore is of summaries: name their rows too: --summaries FILE")
        self.data_of_tasks()

    def data_of_tasks(self) -> Mapping[str, str]:
        """Where the rows of each task are: a file, a saved folder or a hub id; SettingsError where one has none."""
        named = dict(text.split("=", 1) for text in self.data if "=" in text)
        folders = [Path(text) for text in self.data if "=" not in text]
        without_secrets([*named.values(), *map(str, folders)])
        if strange := [task for task in named if task not in TASKS]:
            raise SettingsError(f"--data {shown(strange[0])}: no such test set; there are: {', '.join(TASKS)}")
        found = {}
        for task in self.tasks:
            in_folders = [str(file) for folder in folders for file in _files(folder, task)]
            files = [named[task]] if task in named else in_folders
            if len(files) != 1:
                problem = f"several files fit: {', '.join(map(printable, files))}" if files else "no rows"
                raise SettingsError(f"--data: {task}: {problem}; name them: --data {task}=FILE")
            found[task] = files[0]
        return found


def place_and_config(path: str) -> tuple[str, str | None]:
    """Where the rows of a task are, and which configuration of them: HUB-ID:CONFIG; files have none."""
    from s2l.data.hub import HUB_ID

    place, _, config = path.partition(":")
    return (place, config or None) if HUB_ID.fullmatch(place) else (path, None)


def _files(folder: Path, task: str) -> list[Path]:
    """The files of a folder that are named as the task."""
    from s2l.data.containers import has_known_suffix

    names = {task, ALSO_CALLED.get(task, task)}
    if not folder.is_dir():
        raise SettingsError(f"--data {printable(str(folder))}: no such folder; one of TASK.jsonl files, or TASK=FILE")
    return sorted(file for file in folder.iterdir() if file.name.split(".")[0] in names and has_known_suffix(file))
