"""Which row is meant: by id, by the beginning of one, by place."""

import numpy as np
import pytest

from s2l.errors import SettingsError
from s2l.look.places import find_row
from s2l.types import Rows

FILES = ("data/a.jsonl", "more/a.jsonl", "b\x1b[2J.jsonl", "c:d.jsonl")
IDS = ["a" * 24, "ab" * 12, "12" * 12, "f" * 24, "12" * 11 + "ff"]
ROWS = Rows(
    ids=np.array([id_.encode() for id_ in IDS]),
    occurrence_N=np.zeros(5, dtype=np.int64),
    source_N=np.zeros(5, dtype=np.int64),
    sources=("all",),
    file_N=np.array([0, 0, 1, 2, 3]),
    files=FILES,
    row_N=np.array([0, 1, 0, 0, 0]),
    line_N=np.array([1, 3, 1, 1, 7]),
)


@pytest.mark.parametrize(
    ("meant", "row"),
    [
        ("a" * 24, 0),
        ("aa", 0),
        ("AB", 1),
        ("f", 3),
        ("12" * 12, 2),
        ("data/a.jsonl:1", 0),
        ("data/a.jsonl:3", 1),
        ("more/a.jsonl:1", 2),
        ("b\x1b[2J.jsonl:1", 3),
        ("b\\x1b[2J.jsonl:1", 3),
        ("c:d.jsonl:7", 4),
        *[(ROWS.place(row), row) for row in range(5)],
    ],
)
def test_a_row_is_found_by_id_by_its_beginning_and_by_its_place(meant: str, row: int) -> None:
    assert find_row(ROWS, meant) == row


def test_the_end_of_a_path_will_do_where_one_file_has_it() -> None:
    one = Rows(**{**vars(ROWS), "files": ("/home/me/data/a.jsonl", *FILES[1:])})
    assert find_row(one, "data/a.jsonl:1") == 0
    with pytest.raises(SettingsError, match=r"several files of the run are called 'a.jsonl': "):
        find_row(one, "a.jsonl:1")


@pytest.mark.parametrize(
    ("meant", "says"),
    [
        ("a", "2 ids begin with 'a' (aaaaaaaaaaaaaaaaaaaaaaaa, abababababababababababab, …): write more of it"),
        ("12", "2 ids begin with '12'"),
        ("0", "no row '0' here: write the beginning of its id, or its place, from data/a.jsonl:1 to c:d.jsonl:7"),
        ("", "no row ''"),
        ("a" * 25, "no row 'aaaa"),
        ("nonsense\x1b[2J", "no row 'nonsense\\x1b[2J' here"),
        ("a.jsonl", "no row 'a.jsonl' here"),
        ("data/a.jsonl:2", "no row at 'data/a.jsonl:2': rows stand from data/a.jsonl:1 to"),
        ("data/a.jsonl:0", "no row at"),
        ("data/a.jsonl:" + "9" * 40, "no row at"),
        ("data/a.jsonl:-1", "no row 'data/a.jsonl:-1' here"),
        ("gone.jsonl:1", "no row at 'gone.jsonl:1'"),
        ("data/a.jsonl:²", "no row"),
    ],
)
def test_what_is_no_row_or_several_is_one_line_with_what_to_write(meant: str, says: str) -> None:
    with pytest.raises(SettingsError) as error:
        find_row(ROWS, meant)
    assert str(error.value).startswith(says)
    assert str(error.value).isprintable()
