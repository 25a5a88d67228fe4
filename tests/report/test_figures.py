"""Figures for papers: the same bytes for the same run, and one line where matplotlib is missing."""

import sys
from pathlib import Path

import page_toys  # noqa: F401 - the verb
import pytest

from s2l.report.page.figures import FIGURES, KINDS
from toy_runs import SETTINGS, files_of, s2l


def test_every_plot_is_written_in_every_kind_and_alike(own_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    page = (own_run / "report.html").read_bytes()
    for name in ("one", "two"):
        outcome = s2l("report", own_run, "--figures", tmp_path / name)
        assert outcome.code == 0, outcome.err
    files = files_of(tmp_path / "one")
    assert files.keys() == {f"{figure}.{kind}" for figure in FIGURES for kind in KINDS}
    assert files == files_of(tmp_path / "two")
    assert outcome.out.splitlines() == [str(tmp_path / "two" / f"{f}.{k}") for f in FIGURES for k in KINDS]
    assert "<text" in (tmp_path / "one/sources.svg").read_text()
    assert (tmp_path / "one/map.pdf").read_bytes().startswith(b"%PDF")
    assert (own_run / "report.html").read_bytes() == page


def test_a_missing_matplotlib_is_one_line(own_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    outcome = s2l("report", own_run, "--figures", tmp_path / "figures")
    assert outcome.code == SETTINGS
    assert outcome.error.startswith("error: --figures needs matplotlib: pip install 'matplotlib>=")
    assert not (tmp_path / "figures").exists()
