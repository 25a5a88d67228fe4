"""Starts the processes of a launcher as tests/proxy/ranks_driver.py does, for `s2l train`; trl is imported before."""

import json
import sys

from ranks_driver import start

import s2l.cli.train
import s2l.target.fit  # noqa: F401

if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(start(json.loads(line))), flush=True)
