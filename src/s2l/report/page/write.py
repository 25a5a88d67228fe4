"""RUN/report.html: written whole, the same bytes for the same run."""

from __future__ import annotations

from pathlib import Path

from s2l.files import written_whole
from s2l.progress import SILENT, Progress
from s2l.report.page import figures
from s2l.report.page.draw import page
from s2l.report.page.gather import gather
from s2l.run_folder import RunFolder

REPORT = "report.html"


def write_report(
    folder: RunFolder, subset: str | None = None, *, with_examples: bool = True, progress: Progress = SILENT
) -> Path:
    """Write the page of the run in a folder that is held, in place of an older one; errors as of `gather`."""
    html = page(gather(folder, subset, with_examples=with_examples, progress=progress))
    path = folder.path / REPORT
    with written_whole(path) as part:
        part.write_bytes(html.encode("utf-8", "backslashreplace"))
    return path


def write_figures(
    folder: RunFolder, into: Path, subset: str | None = None, *, progress: Progress = SILENT
) -> list[Path]:
    """The run's main plots as files; beside the errors of `gather`, SettingsError where matplotlib is missing."""
    return figures.write(gather(folder, subset, with_examples=False, progress=progress), into)
