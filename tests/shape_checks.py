"""How annotations are checked while the tests run: as mypy reads them, an int is a float and a stream is a stream."""

from typing import Any, BinaryIO

from beartype import BeartypeConf, FrozenDict, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict({BinaryIO: Any})))
