"""Equal expressions, by math-verify in a process of its own, which is ended when it takes too long."""

from __future__ import annotations

import json
import re
import select
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from s2l.errors import MachineError

SECONDS = 10.0
STARTING = 120.0
LONGEST = 300
"""Characters of an answer that is looked at."""
SYMBOL = re.compile(r"\\(?:begin|end)\{[a-z]*\}|\\[A-Za-z]+|[A-Za-z]{2,}|[A-Za-z]")
CONSTANTS = frozenset("ei")
LIKE_UNITS = "cdghlmost"
"""Letters that math-verify takes for a unit where they stand last."""


def variables(text: str) -> frozenset[str]:
    """The letters that stand for something; no words, no constants."""
    return frozenset(symbol for symbol in SYMBOL.findall(text) if len(symbol) == 1) - CONSTANTS


def renamed(text: str) -> str:
    """The same with other letters for those that could be units; texts of the same variables stay comparable."""
    there = variables(text)
    free = [letter for letter in "xyzabknpqruvw" if letter not in there]
    other = dict(zip(sorted(there & set(LIKE_UNITS)), free, strict=False))
    return SYMBOL.sub(lambda found: other.get(found[0], found[0]), text)


class Prover:
    """Asks math-verify; a context manager. Its process starts with the first question, and anew after it was ended."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Prover:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def equal(self, gold: str, answer: str) -> bool | None:
        """Whether two LaTeX texts are equal; None where it was not found out in time.

        What cannot be parsed is equal to nothing. Raises MachineError where math-verify does not start.
        """
        if max(len(gold), len(answer)) > LONGEST:
            return False
        process = self._started()
        assert process.stdin
        try:
            process.stdin.write(json.dumps([gold, answer]) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            self._end()
            return None
        reply = self._reply(self.seconds)
        if not reply:
            self._end()
            return None
        return bool(json.loads(reply))

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            script = str(Path(__file__).with_name("prove.py"))
            # -P: the script's folder is no place to import from
            self._process = subprocess.Popen(
                [sys.executable, "-P", script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
            if self._reply(STARTING).strip() != "ready":
                self._end()
                raise MachineError("math-verify does not start; pip install math-verify[antlr4_13_2]")
        return self._process

    def _reply(self, seconds: float) -> str:
        """The next line, or nothing where none came in time or the process is gone."""
        assert self._process and self._process.stdout
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        return self._process.stdout.readline() if ready else ""

    def _end(self) -> None:
        if (process := self._process) is None:
            return
        self._process = None
        process.kill()
        process.communicate()
