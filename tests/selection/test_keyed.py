"""Keyed numbers are those of the definition, whatever the chunk of ids."""

from hashlib import blake2b

import pytest

from s2l.selection import keyed
from toy_losses import make_ids


@pytest.mark.parametrize("chunk", [1, 7, 65_536])
def test_keys_are_blake2b_of_seed_purpose_and_id(monkeypatch, chunk):
    monkeypatch.setattr(keyed, "CHUNK", chunk)
    ids = make_ids(20)
    expected = [blake2b(b"7\0draw\0" + id_, digest_size=8).digest() for id_ in ids.tolist()]
    assert keyed.keys(7, "draw", ids).tolist() == [int.from_bytes(digest, "little") for digest in expected]


def test_no_ids_have_no_keys():
    assert keyed.keys(7, "draw", make_ids(0)).tolist() == []
