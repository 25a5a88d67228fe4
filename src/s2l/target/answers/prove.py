"""The process that asks math-verify: a pair of texts a line on stdin, whether they are equal on stdout.

It stands alone, so that it can be ended where sympy does not come back: math-verify's own time limit is a signal, which
needs the main thread. Only LaTeX is parsed, by a grammar; nothing is evaluated as Python.
"""

from __future__ import annotations

import json
import logging
import resource
import signal
import sys

MEMORY = 3 * 2**30
ALONE = 30.0
"""Seconds after which a comparison ends the process itself: who asked may be gone."""


def main() -> None:
    """Answer until stdin ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    logging.disable(logging.CRITICAL)
    from math_verify import LatexExtractionConfig, parse, verify

    def read(text: str) -> list[object]:
        found: list[object] = parse(
            f"${text}$", [LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=None
        )
        return found

    def equal(gold: str, answer: str) -> bool:
        try:
            expected, given = read(gold), read(answer)
            return bool(expected and given and verify(expected, given, timeout_seconds=None))
        except (Exception, MemoryError, RecursionError):  # a grammar and an algebra system on any text
            return False

    print("ready", flush=True)
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_REAL, ALONE)
        print(json.dumps(equal(*json.loads(line))), flush=True)
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    main()
