"""What a target costs, with selection and without, by hand."""

import pytest

from s2l.errors import SettingsError
from s2l.forecast.target import Budgeted, costs, parse_parameters, worthwhile


@pytest.mark.parametrize(
    ("written", "parameters"), [("7B", 7 * 10**9), ("410M", 410 * 10**6), (" 2.7B ", 2_700_000_000), ("1000", 1000)]
)
def test_parameters_are_written_as_people_do(written: str, parameters: int) -> None:
    assert parse_parameters(written) == parameters


@pytest.mark.parametrize("written", ["", "B", "7 billion", "-7B", "0", "7b", "1e9", "nan", "٧B"])
def test_what_is_no_number_of_parameters_is_one_line(written: str) -> None:
    with pytest.raises(SettingsError, match=r"--target-params .*: write 7B, 410M or a whole number"):
        parse_parameters(written)


def test_equal_epochs_save_the_share_of_the_tokens_and_equal_steps_nothing() -> None:
    (cost,) = costs([1000], [Budgeted("25%", 5, 0.25)], tokens=100, selection=600)
    assert cost.full == 6 * 1000 * 100 * 3
    assert cost.equal_epochs == 600 + cost.full / 4
    assert cost.equal_steps == 600 + cost.full
    assert cost.selection_share == 600 / cost.full


def test_at_the_size_from_which_it_is_worthwhile_both_cost_the_same() -> None:
    asked = Budgeted("25%", 5, 0.25)
    size = worthwhile(asked, tokens=100, selection=600)
    assert size is not None
    (cost,) = costs([round(size * 3000)], [asked], tokens=100, selection=600 * 3000)
    assert cost.equal_epochs == pytest.approx(cost.full, rel=1e-3)


def test_a_subset_of_everything_is_never_worthwhile() -> None:
    assert worthwhile(Budgeted("100%", 20, 1.0), tokens=100, selection=600) is None
