"""Runs an endless toy job in two processes: `local_driver.py FOLDER`. Ctrl-C is exit code 130."""

import sys
from pathlib import Path

from toy_jobs import Toy, ToyJob

from s2l.engines import local

# No `if __name__ == "__main__"`: the processes must not run a user's script again.
try:
    for _ in local.run(ToyJob(Path(sys.argv[1]), seconds=60), [Toy("a"), Toy("b")], 2, lambda _units: None):
        pass
except KeyboardInterrupt:
    sys.exit(130)
