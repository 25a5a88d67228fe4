"""docs/methods.md names every method, its settings, its papers and its cost as they are."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from s2l.selection.greedy import facility_location_bytes, k_center_bytes
from s2l.selection.methods import get, methods

PAGE = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
TABLE = {
    cells[0].strip("` "): [cell.strip() for cell in cells[1:]]
    for line in re.findall(r"^\| `(.*) \|$", PAGE, re.MULTILINE)
    if len(cells := line.split("|")) == 5
}
EPOCHS, STEPS = 3, tuple(range(500, 6001, 500))


def entry(name):
    """The method's own section, and what stands above the sections beside it."""
    (part,) = (part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE) if f"\n### `{name}`\n" in part)
    introduction, *sections = re.split(r"^### ", part, flags=re.MULTILINE)
    (own,) = (section for section in sections if section.startswith(f"`{name}`\n"))
    return introduction, own


def test_the_table_names_every_method():
    assert sorted(TABLE) == list(methods())


@pytest.mark.parametrize("method", methods())
def test_costs_are_those_of_the_code(method):
    _, _, alone, further = TABLE[method]
    cost = get(method).cost(get(method).parse({}), STEPS)
    assert float(alone) == cost.passes(EPOCHS)
    trains = method in {"confidence-curriculum", "diverse-evol"}
    assert float(further) == (cost.passes(EPOCHS) if trains else cost.more)


@pytest.mark.parametrize("method", methods())
def test_every_entry_names_the_settings_and_the_papers(method):
    introduction, own = entry(method)
    for name in get(method).settings.model_fields:
        assert re.search(rf"`{name}[`=]", introduction + own), name
    doc = import_module(f"s2l.selection.methods.{method.replace('-', '_')}").__doc__
    for paper in re.findall(r"\d{4}\.\d{5}", doc):
        assert f"https://arxiv.org/abs/{paper}" in own, paper


def test_the_formulas_of_memory_are_those_of_the_code():
    assert "| `facility-location` | 8 · min(2²⁶, N²) + 1,056 N |" in PAGE
    assert "| `k-center` | 64 N |" in PAGE
    for n in (10, 10**5):
        assert facility_location_bytes(n) == 8 * min(2**26, n**2) + 1056 * n
        assert k_center_bytes(n) == 64 * n
