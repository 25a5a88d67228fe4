"""Rows on disk: all that is known of them comes back, and damage is noticed."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2l.data.rows_file import load_rows, save_rows
from s2l.errors import RunFolderError
from s2l.types import Rows, Tokens
from toy_models import toy_tokens


def rows_of(tokens: Tokens, names: tuple[str, ...] = ("a", "b"), seed: int = 0) -> Rows:
    """The rows of `tokens` and two that were excluded, in a file order of their own."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(np.concatenate([tokens.ids, np.array([b"e" * 24, b"f" * 24])]))
    count = len(ids)
    return Rows(
        ids=ids,
        occurrence_N=rng.integers(0, 3, count),
        source_N=rng.integers(0, len(names), count),
        sources=names,
        file_N=rng.integers(0, len(names), count),
        files=names,
        row_N=rng.permutation(count),
        line_N=rng.permutation(count) + 1,
        excluded={b"e" * 24: "malformed", b"f" * 24: "no answer"},
    )


def assert_same(first: Rows, second: Rows) -> None:
    for field in fields(Rows):
        a, b = getattr(first, field.name), getattr(second, field.name)
        assert np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b, field.name


@settings(max_examples=30)
@given(
    count=st.integers(1, 20),
    seed=st.integers(0, 99),
    names=st.lists(st.text(st.characters()), min_size=1, max_size=3, unique=True).map(tuple),
)
def test_rows_and_lengths_come_back(
    count: int, seed: int, names: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    tokens = toy_tokens(count, seed)
    rows, path = rows_of(tokens, names, seed), tmp_path_factory.mktemp("rows") / "rows.parquet"
    save_rows(rows, tokens, path)
    loaded, lengths = load_rows(path)
    assert_same(loaded, rows)
    assert lengths.tolist() == tokens.lengths.tolist()


def test_rows_that_tokenizing_excluded_are_excluded(tmp_path: Path) -> None:
    tokens = toy_tokens(4)
    rows = rows_of(tokens)
    fewer = Tokens(
        tokens.ids[:3],
        tokens.input_ids[: tokens.start_N[3]],
        tokens.counted[: tokens.start_N[3]],
        tokens.start_N[:4],
        tokens.truncated_N[:3],
        {tokens.ids[3].item(): "no response token within max_length"},
    )
    save_rows(rows, fewer, tmp_path / "rows.parquet")
    loaded, lengths = load_rows(tmp_path / "rows.parquet")
    assert loaded.excluded == {**rows.excluded, tokens.ids[3].item(): "no response token within max_length"}
    assert lengths.tolist() == fewer.lengths.tolist()


def test_a_flipped_bit_is_noticed_or_changes_a_name_at_most(tmp_path: Path) -> None:
    path, tokens = tmp_path / "rows.parquet", toy_tokens(3)
    rows = rows_of(tokens)
    save_rows(rows, tokens, path)
    content, noticed = path.read_bytes(), 0
    for at in range(0, len(content), 5):
        damaged = bytearray(content)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        try:
            loaded, lengths = load_rows(path)
        except RunFolderError as error:
            assert str(error) == f"{path}: damaged; remove it and run the same command again"
            noticed += 1
        else:
            if (loaded.sources, loaded.files) == (rows.sources, rows.files):
                assert_same(loaded, rows)
            assert lengths.tolist() == tokens.lengths.tolist()
    assert noticed > len(content) / 5 / 3


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="damaged; remove it and run the same command again"):
        load_rows(tmp_path / "rows.parquet")
