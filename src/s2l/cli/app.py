"""The program itself: how it starts, speaks and ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console

from s2l import __version__
from s2l.errors import S2LError, SettingsError, printable

STOPPED = 130

app = typer.Typer(
    name="s2l",
    help="Which part of my fine-tuning data should I train on? Chosen by the loss trajectories of a small proxy model.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
stderr = Console(stderr=True)
stdout = Console(width=None if sys.stdout.isatty() else 120)


def main() -> None:
    """Run the command line; a mistake is one line on stderr and a documented exit code, never a traceback."""
    # On a busy machine threads that spin while they wait make every step several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
        if code == STOPPED:  # typer's answer to Ctrl-C
            _say("stopped; the same command goes on from here")
        sys.exit(code)
    except S2LError as error:
        _say(f"error: {error}")
        sys.exit(error.exit_code)
    except typer.TyperException as error:
        _say(f"error: {error.format_message()} (s2l --help)")
        sys.exit(SettingsError.exit_code)
    except OSError as error:
        if error.filename is None and error.strerror is None:
            raise
        _say(f"error: {error.filename or 'the machine'}: {error.strerror}; nothing is lost: run the same command again")
        sys.exit(6)


def _say(line: str) -> None:
    if os.environ.get("RANK", "0") != "0":  # of a launcher's processes the first one speaks for all
        return
    stderr.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def _version(asked: bool) -> bool:
    if asked:
        typer.echo(f"s2l {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="The version.")] = False,
) -> None:
    """Flags of s2l itself."""
    del version


@contextmanager
def screen() -> Iterator[Any]:
    """Progress and notes on stderr."""
    from s2l.report.screen import Screen

    yield Screen(stderr)
