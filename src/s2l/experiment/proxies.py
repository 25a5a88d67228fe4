"""The proxies' runs: one for each proxy and proxy seed, drawn from by all methods; and views of fewer checkpoints."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from s2l.config import PoolSettings, ProxySettings, RunSettings, SelectSettings, TokenSettings
from s2l.data.pool import read_pool
from s2l.errors import DataError, RunFolderError, SettingsError, printable
from s2l.experiment.claim import RUNNING
from s2l.files import read_record, write_json, written_whole
from s2l.pipeline import run
from s2l.progress import SILENT, Progress
from s2l.proxy.plan import OWN
from s2l.proxy.stage import PLAN
from s2l.run_folder import RUN, RunFolder

VIEW = "view.json"


def proxy_run(
    pool: PoolSettings,
    tokens: TokenSettings,
    proxy: ProxySettings,
    pretrained: Path | None,
    seed: int,
    budget: str,
    out: Path,
    progress: Progress,
) -> None:
    """Train the proxy on the pool and record its losses, into the run folder `out`; there already: left as it is.

    pretrained: what it starts from instead of fresh weights; its training keeps the built-in proxy's own defaults.
    """
    if pretrained is not None:
        own = {name: value for name, value in OWN.items() if getattr(proxy, name) is None}
        proxy = ProxySettings.model_validate({**proxy.model_dump(), **own, "model": str(pretrained)})
        tokens = tokens.model_copy(update={"template": _template(tokens.template, pretrained)})
    select = SelectSettings(method="random", budgets=(budget,))
    run(RunSettings(pool=pool, tokens=tokens, proxy=proxy, select=select, seed=seed), out, progress)


def as_begun(proxy: ProxySettings, out: Path, progress: Progress) -> ProxySettings:
    """The proxy as its unfinished run in `out` was begun: on as many threads, in passes of as many tokens."""
    if not (out / RUN).is_file():
        return proxy
    begun = RunFolder(out).claimed()["settings"]["proxy"]
    kept = {name: begun[name] for name in sorted(RUNNING & begun.keys()) if begun[name] != getattr(proxy, name)}
    if kept:
        told = ", ".join(f"{name} {value}" for name, value in kept.items())
        progress.note(f"proxies/{out.name} goes on as it was begun: {told}; to begin it anew, remove that folder")
    return proxy.model_copy(update=kept)


def _template(asked: str, pretrained: Path) -> str:
    """The one asked for; else the one that the model was trained on, where it is one to ask for."""
    from s2l.target.model import template_in

    learned = template_in(pretrained) or asked
    return learned if asked == "auto" and learned in {"alpaca", "short", "chat"} else asked


def seen_by(folder: RunFolder) -> tuple[int, ...]:
    """Steps of the checkpoints that a draw from the run sees."""
    first = (0,) if folder.claimed()["settings"]["proxy"]["initial_checkpoint"] else ()
    return (*first, *read_record(folder.proxy / PLAN)["saves"])


def view(run_folder: Path, checkpoints: tuple[int, ...], out: Path) -> None:
    """A run folder that saw only these of the run's checkpoints (from 1, those of training); files are hard links.

    Nothing is trained or recorded again. SettingsError for a checkpoint that there is not.
    """
    if (out / VIEW).is_file():
        return
    whole = RunFolder(run_folder)
    plan = read_record(whole.proxy / PLAN)
    if max(checkpoints) > len(plan["saves"]):
        raise SettingsError(f"checkpoints: {max(checkpoints)} is asked for, the proxy has {len(plan['saves'])}")
    saves = [plan["saves"][number - 1] for number in sorted(set(checkpoints))]
    unseen = {f"step-{step:08d}" for step in (0, *plan["saves"]) if step not in saves}

    def left_out(folder: str, names: list[str]) -> set[str]:
        below = Path(folder)
        if below == run_folder:
            return {"subsets", "signal.json", "representations", ".lock"} & set(names)
        return unseen & set(names) if below == whole.trajectories else set()

    with written_whole(out) as part:
        shutil.copytree(run_folder, part, ignore=left_out, copy_function=_linked)
        write_json(part / "proxy" / PLAN, plan | {"saves": saves})
        claimed: dict[str, Any] = whole.claimed()
        proxy = claimed["settings"]["proxy"] | {"checkpoints": len(saves), "initial_checkpoint": False}
        write_json(part / RUN, claimed | {"settings": claimed["settings"] | {"proxy": proxy}})
        write_json(part / VIEW, {"of": run_folder.name, "checkpoints": sorted(set(checkpoints))})


def check_recorded(run_folder: Path, pool: PoolSettings) -> int:
    """How many checkpoints a finished run of this very pool has; an error of `s2l.errors` where it is none."""
    folder = RunFolder(run_folder)
    if not folder.manifest.is_file():
        raise RunFolderError(f"{printable(str(run_folder))}: no finished run; `recorded` names runs that are finished")
    if folder.claimed()["pool"]["digest"] != read_pool(pool, SILENT).digest:
        raise DataError(f"{printable(str(run_folder))}: recorded from another pool than the one to choose from")
    return len(read_record(folder.proxy / PLAN)["saves"])


def _linked(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copy2(source, target)
    return target
