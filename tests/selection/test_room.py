"""What is free, and the line that says what would fit."""

import re

import pytest

from s2l.errors import MachineError
from s2l.selection import room
from s2l.selection.room import free_memory, require_room

MEMINFO = "MemTotal:       16384 kB\nMemFree:         1024 kB\nMemAvailable:    4096 kB\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with 4 MiB available."""
    (tmp_path / "meminfo").write_text(MEMINFO)
    monkeypatch.setattr(room, "MACHINE", tmp_path / "meminfo")
    monkeypatch.setattr(room, "GROUP", tmp_path)
    return tmp_path


def limit(machine, most, anonymous):
    (machine / "memory.max").write_text(f"{most}\n")
    (machine / "memory.stat").write_text(f"anon {anonymous}\nfile 5000000\n")


def test_what_is_free_is_what_the_machine_has_available(machine):
    assert free_memory() == 4 * 2**20


def test_a_control_group_may_leave_less(machine):
    limit(machine, 3 * 2**20, 2**20)
    assert free_memory() == 2 * 2**20
    limit(machine, 2**20, 2**21)
    assert free_memory() == 0
    limit(machine, "max", 2**20)
    assert free_memory() == 4 * 2**20


def test_a_system_that_does_not_tell_is_trusted(machine):
    (machine / "meminfo").unlink()
    assert free_memory() is None
    require_room("anything", 2**60, lambda rows: 2**10 * rows)


def test_what_fits_is_let_through_and_what_does_not_names_the_rows_that_would(machine):
    require_room("a cover", 4096, lambda rows: 1024 * rows)
    with pytest.raises(MachineError) as error:
        require_room("a cover", 4097, lambda rows: 1024 * rows)
    assert str(error.value) == (
        "no room for a cover of 4,097 rows: it takes 0.0 GiB of memory, 0.0 GiB is free; 4,096 rows would fit"
    )
    with pytest.raises(MachineError, match="; 0 rows would fit"):
        require_room("a cover", 10, lambda rows: 2**30 + rows)


def test_this_machine_tells():
    free = free_memory()
    with pytest.raises(MachineError) as error:
        require_room("all", 2**60, lambda rows: 2**20 * rows)
    fitting = int(re.search(r"; ([\d,]+) rows", str(error.value))[1].replace(",", ""))
    assert fitting == pytest.approx(free / 2**20, rel=0.2)
