"""Judge a model: its held-out loss by source, its answers to the test sets, its summaries."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from s2l import __version__
from s2l.config import PoolSettings
from s2l.data.hub import whereabouts
from s2l.data.pool import digest_of_files
from s2l.data.url import is_url
from s2l.errors import RunFolderError, SettingsError, printable, shown
from s2l.extras import to_install
from s2l.files import PART, read_record, sha256_of, write_json, written_whole
from s2l.progress import SILENT, Progress
from s2l.run_folder import LOCK, locked
from s2l.target.evaluate_settings import EvaluateSettings, place_and_config
from s2l.target.evaluated import Evaluated, opened

EVALUATION, ASKED = "evaluation.json", "asked.json"
OUTPUTS = "outputs"
PACKAGES = {"lm_eval": "tasks", "math_verify": "tasks", "rouge_score": "summaries", "sacrebleu": "summaries"}
OF_NO_CONSEQUENCE = frozenset({"threads", "batch_tokens", "device"})


def evaluate(
    model: str | Path,
    settings: EvaluateSettings,
    out: Path | None = None,
    progress: Progress = SILENT,
    reading: PoolSettings | None = None,
) -> dict[str, Any]:
    """What was asked of the model: `heldout`, `tasks` and `summaries`, None where not asked.

    out: its folder is given evaluation.json, written last, and outputs/TASK.jsonl, every output with its verdict. The
    same evaluation that is there already is returned; another one is a RunFolderError. The same model, data and
    settings give the same figures, up to floating-point noise in a token that is as probable as another. reading: how
    held-out rows and those of summaries are read (columns, source column, filter), None for the usual way.
    """
    settings.require()
    need_packages(settings)
    need_files(settings)
    with _held(out), _threads(settings.threads) as workers:
        evaluated = opened(str(model), settings, reading)
        asked, files = settings.model_dump(mode="json") | {"reading": _told(reading)}, digests(settings)
        if out is not None and (there := already(out, evaluated, asked, files)) is not None:
            return there
        if out is not None:
            write_json(out / ASKED, asked)
        seconds: dict[str, float] = {}
        found: dict[str, Any] = {
            "s2l": __version__,
            "asked": asked,
            "files": files,
            "model": evaluated.about,
            "heldout": None,
            "tasks": {},
            "summaries": None,
            "seconds": seconds,
            "versions": {name: version(name) for name in ("torch", "transformers", *_needed(settings))},
        }
        if settings.heldout:
            start = monotonic()
            from s2l.target.heldout import heldout

            found["heldout"] = heldout(evaluated, settings.heldout, workers, progress)
            seconds["heldout"] = round(monotonic() - start, 3)
        elif settings.tasks:
            progress.note("no --heldout rows: small models answer little exactly, their loss tells more")
        for task, told, rows, took in answers(evaluated, settings, workers, progress):
            found["tasks"][task], seconds[task] = told, took
            write_outputs(out, task, rows)
        if settings.summaries is not None:
            start = monotonic()
            from s2l.target.summaries import summaries

            found["summaries"], rows = summaries(evaluated, settings, workers, progress)
            write_outputs(out, "summaries", rows)
            seconds["summaries"] = round(monotonic() - start, 3)
        if out is not None:
            write_json(out / EVALUATION, found)
        return found


def _told(reading: PoolSettings | None) -> dict[str, Any] | None:
    return (
        None
        if reading is None
        else reading.model_dump(mode="json", include={"format", "columns", "source_column", "where"})
    )


@contextmanager
def _held(out: Path | None) -> Iterator[None]:
    """Keep others out of the folder; RunFolderError where it is none, or holds what is no evaluation's."""
    if out is None:
        yield
        return
    if out.exists() and not out.is_dir():
        raise RunFolderError(f"{printable(str(out))}: a file, not a folder; use another --out")
    out.mkdir(parents=True, exist_ok=True)
    foreign = sorted(file.name for file in out.iterdir() if file.name not in {LOCK, ASKED + PART})
    if foreign and not any((out / name).is_file() for name in (ASKED, EVALUATION)):
        raise RunFolderError(
            f"{printable(str(out))}: holds other files, such as {shown(foreign[0])}; use another --out"
        )
    with locked(out):
        yield


def answers(
    evaluated: Evaluated, settings: EvaluateSettings, workers: int, progress: Progress
) -> Iterator[tuple[str, dict[str, Any], list[dict[str, Any]], float]]:
    """Each task with its figures, a row for each of its questions, and its seconds."""
    if not settings.tasks:
        return
    from s2l.target.answers.symbolic import Prover
    from s2l.target.harness import Answering, run_task

    model = Answering(evaluated, settings, workers, progress)
    with Prover() as prover:
        for task, path in settings.data_of_tasks().items():
            start = monotonic()
            told, rows = run_task(task, path, settings.limit, model, prover)
            told |= {
                "cut": sum(not output.ended for output in model.outputs),
                "prompt_too_long": sum(not output.read for output in model.outputs),
                "file": path,
            }
            rows = [row | {"cut": not output.ended} for row, output in zip(rows, model.outputs, strict=True)]
            yield task, told, rows, round(monotonic() - start, 3)


def digests(settings: EvaluateSettings) -> dict[str, str]:
    """sha256 of every local file or folder that is read, and of every URL."""
    paths = [*settings.heldout, *settings.data_of_tasks().values()]
    return digests_of([*paths, *filter(None, [settings.summaries, settings.bertscore])])


def digests_of(paths: Iterable[str]) -> dict[str, str]:
    """sha256 of every local file or folder among the paths, and of every URL."""
    paths = list(dict.fromkeys(paths))
    remote = {path: digest_of_files((path,)) for path in paths if is_url(path)}
    return remote | {path: sha256_of(Path(path)) for path in paths if path not in remote and Path(path).exists()}


def already(
    out: Path, evaluated: Evaluated, asked: Mapping[str, Any], files: Mapping[str, str]
) -> dict[str, Any] | None:
    """The evaluation in `out`, if it is this one; RunFolderError for another, None where there is none."""
    path = out / EVALUATION
    if not path.is_file():
        return None
    there: dict[str, Any] = read_record(path)
    if there.get("model", {}).get("digest") != evaluated.digest:
        raise RunFolderError(f"{path}: of another model, or of other weights; use another --out")
    before = there.get("asked", {})
    for name, value in asked.items():
        if name not in OF_NO_CONSEQUENCE and before.get(name) != value:
            raise RunFolderError(f"{path}: made with another --{name.replace('_', '-')}; use another --out")
    if changed := [file for file, digest in there.get("files", {}).items() if files.get(file) != digest]:
        raise RunFolderError(f"{path}: {printable(changed[0])} has changed since; use another --out")
    return there


def write_outputs(out: Path | None, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object a line in `out`/outputs/NAME.jsonl."""
    if out is None:
        return
    with written_whole(out / OUTPUTS / f"{name}.jsonl") as part:
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        part.write_bytes("".join(lines).encode("utf-8", "backslashreplace"))


def need_packages(settings: EvaluateSettings) -> None:
    """SettingsError, with the command that installs them, where optional packages are missing."""
    missing = [name for name in _needed(settings) if find_spec(name) is None]
    if missing:
        raise SettingsError(f"this needs {' and '.join(missing)}: {to_install('eval')}")


def need_files(settings: EvaluateSettings) -> None:
    """An error of `s2l.errors`, before any work, for a file or folder that is not there."""
    alone = [place_and_config(path)[0] for path in settings.data_of_tasks().values()]
    for paths in (settings.heldout, *zip([*alone, *filter(None, [settings.summaries])])):
        whereabouts(paths)
    if settings.bertscore is not None and not Path(settings.bertscore).is_dir():
        raise SettingsError(f"--bertscore {printable(settings.bertscore)}: no such folder")


def _needed(settings: EvaluateSettings) -> list[str]:
    return [name for name, part in PACKAGES.items() if getattr(settings, part)]


@contextmanager
def _threads(asked: int | None) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(asked or before)
    try:
        yield asked or before
    finally:
        torch.set_num_threads(before)
