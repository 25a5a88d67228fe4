"""The command line: flags and recipes → settings, one verb per job, one line per mistake."""

from __future__ import annotations

from s2l.cli import choose, evaluate, experiment, judge, look, record, report, train  # noqa: F401 - their verbs
from s2l.cli.app import app, main

__all__ = ["app", "main"]
