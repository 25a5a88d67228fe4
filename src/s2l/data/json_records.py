"""Records of JSON Lines and of JSON arrays, streamed, each with its exact bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from s2l.data.record import Record, decode_object
from s2l.errors import DataError

CHUNK = 1 << 20
BLANK = b" \t\r\n"
# A whole string (or one that the end of the buffer cuts), or a structural character.
TOKEN = re.compile(rb'"(?:[^"\\]++|\\.|\\\Z)*+(?:"|\Z)|[\[\]{},]', re.DOTALL)


def json_lines(stream: BinaryIO) -> Iterator[Record]:
    """Records of JSON Lines, split at the byte `\\n` only; blank lines are skipped but counted as lines."""
    row = 0
    for line, text in enumerate(stream, start=1):
        if text.strip(BLANK):
            raw = text.removesuffix(b"\n")
            value, problem = decode_object(raw)
            yield Record(row, line, value, raw, problem)
            row += 1


def json_array(stream: BinaryIO, name: str) -> Iterator[Record]:
    """Records of a JSON array; a malformed element is a problem of its own, a broken bracket an error."""
    for row, raw in enumerate(_elements(stream, name)):
        value, problem = decode_object(raw) if raw else (None, "malformed JSON (nothing between two commas)")
        yield Record(row, row + 1, value, raw, problem)


def _elements(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """The bytes between the outer brackets and the commas at depth 1, stripped; memory: one element."""
    buffer, start, scanned, depth, count = b"", 0, 0, 0, 0
    while chunk := stream.read(max(CHUNK, len(buffer) - start)):
        buffer, start, scanned = buffer[start:] + chunk, 0, scanned - start
        for match in TOKEN.finditer(buffer, scanned):
            token = match[0]
            if token[0] == ord('"'):
                if match.end() == len(buffer):
                    break
            elif token in b"[{":
                depth += 1
                start = match.end() if depth == 1 else start
            elif token in b"]}":
                depth -= 1
                if depth == 0:
                    last = buffer[start : match.start()].strip(BLANK)
                    if last or count:
                        yield last
                    _check_nothing_follows(buffer[match.end() :], stream, name)
                    return
            elif depth == 1:
                yield buffer[start : match.start()].strip(BLANK)
                start, count = match.end(), count + 1
            scanned = match.end()
    if depth == 0:
        raise DataError(f"{name}: no JSON array; wanted [{{…}}, …] or one object a line")
    raise DataError(f"{name}: the JSON array does not end after element {count + 1}: a bracket or quote is missing")


def _check_nothing_follows(rest: bytes, stream: BinaryIO, name: str) -> None:
    while rest:
        if rest.strip(BLANK):
            raise DataError(f"{name}: text after the end of the JSON array; wanted one array of rows")
        rest = stream.read(CHUNK)
