"""The subset made ready to train on: one file per framework, whose formats are the frameworks' own."""

from __future__ import annotations

from pathlib import Path

from s2l.data.handover import axolotl, llamafactory, trl
from s2l.data.handover.training_rows import TrainingRows

__all__ = ["TrainingRows", "write_handover"]

START = {
    "TRL": "python trl_train.py",
    "axolotl": "axolotl train axolotl.yaml",
    "LLaMA-Factory": "llamafactory-cli train llamafactory.yaml",
}


def write_handover(rows: TrainingRows, folder: Path) -> dict[str, str]:
    """Write what TRL, axolotl and LLaMA-Factory need beside the subset; returns framework → how to start it there.

    A framework that cannot train on such rows gets no file and is not named.
    """
    texts = {"TRL": trl.files(rows), "axolotl": axolotl.files(rows), "LLaMA-Factory": llamafactory.files(rows)}
    for files in texts.values():
        for name, text in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
    return {framework: START[framework] for framework, files in texts.items() if files}
