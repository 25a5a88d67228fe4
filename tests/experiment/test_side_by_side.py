"""What each of an experiment's processes takes of the machine."""

import os

import pytest
import torch

from s2l.experiment.side_by_side import take_seat


@pytest.mark.parametrize(("visible", "taken"), [("3,5", ["3", "5", "3"]), (None, ["0", "1", "0"])])
def test_processes_take_the_visible_gpus_by_turns(visible, taken, monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda _count: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for seat, device in enumerate(taken):
        environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
        monkeypatch.setattr(os, "environ", environment)
        take_seat(seat, 3)
        assert environment["CUDA_VISIBLE_DEVICES"] == device


def test_processes_share_the_threads_and_have_one_at_least(monkeypatch):
    given = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for seats in (2, 3, 8):
        take_seat(0, seats)
    assert given == [2, 1, 1]
