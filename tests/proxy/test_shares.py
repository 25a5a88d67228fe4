"""How a global batch is shared: nobody left out, nobody twice, nobody with much more to do."""

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from s2l.proxy.shares import BATCH_COST, cut, deal

LENGTHS = st.lists(st.integers(1, 500), min_size=1, max_size=40)


@given(lengths=LENGTHS, shares=st.integers(1, 9), data=st.data())
def test_every_row_is_dealt_once_and_no_share_has_a_row_more_than_its_part(lengths, shares, data) -> None:
    lengths_B = np.array(lengths)
    responses_B = np.array([data.draw(st.integers(1, length)) for length in lengths])
    dealt = deal(lengths_B, responses_B, shares)
    assert len(dealt) == shares
    assert sorted(np.concatenate(dealt).tolist()) == list(range(len(lengths)))
    assert len(dealt[0]) > 0
    assert all(np.all(np.diff(lengths_B[rows]) <= 0) for rows in dealt)
    cost_B = lengths_B + responses_B
    loads = [cost_B[rows].sum() for rows in dealt]
    assert max(loads) - min(loads) <= cost_B.max()


def cost(lengths: list[int], cuts: list[slice]) -> int:
    return sum(lengths[part][0] * len(lengths[part]) + BATCH_COST for part in cuts)


@given(lengths=st.lists(st.integers(1, 300), max_size=8), batch_tokens=st.integers(1, 900))
def test_the_cut_is_the_cheapest_there_is(lengths: list[int], batch_tokens: int) -> None:
    lengths = sorted(lengths, reverse=True)
    cuts = cut(np.array(lengths, dtype=np.int64), batch_tokens)
    assert [row for part in cuts for row in range(len(lengths))[part]] == list(range(len(lengths)))

    def fits(part: slice) -> bool:
        return len(lengths[part]) == 1 or lengths[part][0] * len(lengths[part]) <= batch_tokens

    assert all(map(fits, cuts))
    places = range(1, len(lengths))
    ways = [
        [slice(a, b) for a, b in zip((0, *inner), (*inner, len(lengths)), strict=True)]
        for count in range(len(lengths))
        for inner in combinations(places, count)
    ]
    assert cost(lengths, cuts) == min((cost(lengths, way) for way in ways if all(map(fits, way))), default=0)
