"""The S2L authors' own code as a peer: modules of a clone of BigML-CS-UCLA/S2L, loaded as they are."""

from __future__ import annotations

import importlib
import io
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType


def authors_module(name: str, clone: Path, scratch: Path) -> ModuleType:
    """Module `name` at the last commit of `clone`, a work tree or a bare repository; its files go to `scratch`."""
    packed = subprocess.run(["git", "-C", str(clone), "archive", "HEAD"], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(scratch, filter="data")
    if str(scratch) not in sys.path:
        sys.path.insert(0, str(scratch))
    return importlib.import_module(name)
