"""The end of a forked process: what it was to do, then its exit code, and nothing of the process it came from."""

import os
import sys
from collections.abc import Callable
from typing import NoReturn


def end_as(job: Callable[[], None]) -> NoReturn:
    """Do the job and leave with its exit code; 99 after what it should not have raised, which is printed."""
    code = 0
    try:
        job()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
