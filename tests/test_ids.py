"""Ids in bulk: as numpy has it on whole ids, also where their first eight characters are alike."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2l.ids import are_unique, as_text, find_ids, id_order, ids_of

ID = st.builds(
    lambda head, tail: f"{head}0000000{'0' * 15}{tail}".encode(), st.sampled_from("ab"), st.sampled_from("0123456789")
)
IDS = st.lists(ID, unique=True, max_size=15).map(lambda ids: np.array(ids, dtype="S24"))


@given(IDS)
def test_order_is_that_of_argsort(ids):
    assert id_order(ids).tolist() == np.argsort(ids).tolist()


@given(st.lists(ID, max_size=12))
def test_a_repeated_id_is_noticed(ids):
    assert are_unique(np.array(ids, dtype="S24")) == (len(set(ids)) == len(ids))


@given(IDS, IDS)
def test_every_wanted_id_is_found_where_it_stands(wanted, ids):
    ids = np.sort(ids)
    place_M, found_M = find_ids(wanted, ids)
    assert found_M.tolist() == [id_ in ids.tolist() for id_ in wanted.tolist()]
    assert ids[place_M[found_M]].tolist() == wanted[found_M].tolist()


def test_ids_come_from_a_column_whatever_its_chunks():
    ids = [f"{i:024x}" for i in range(7)]
    column = pa.chunked_array([pa.array(ids)[:3], pa.array(ids)[3:]])
    assert ids_of(column, 24).tolist() == [id_.encode() for id_ in ids]
    with pytest.raises(pa.ArrowInvalid):
        ids_of(pa.chunked_array([["too short"]]), 24)


@given(IDS)
def test_ids_as_text_and_back_are_the_same(ids):
    text = as_text(ids)
    assert text.type == pa.string()
    assert ids_of(pa.chunked_array([text]), 24).tolist() == ids.tolist()
