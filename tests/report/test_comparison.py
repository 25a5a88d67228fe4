"""The tables of a comparison fit the terminal, tell every figure once, and are safe whatever sources are called."""

import io
import json
import re

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from s2l.report.comparison import percent, print_comparison

SHARED = {"mean": 0.8214, "least": 0.8, "most": 0.85}


def method(name, sources, embedded=True, **changes):
    rows = sum(sources.values())
    return {
        "method": name,
        "settings": {},
        "rows": rows,
        "tokens": 20_383,
        "mean_loss": 0.6234,
        "truncated": 3,
        "repeats": 11,
        "sources": sources,
        "coverage": {
            "losses": {"mean": 0.1234, "within_95": 0.4567},
            "embeddings": {"mean": 0.3333, "within_95": 0.7777} if embedded else None,
        },
        "stability": {"clusters": SHARED, "draws": None, "by_chance": 0.11},
        "cost": {
            "passes": 21.0,
            "trained": 1.0,
            "recorded": 12,
            "more": 0.0,
            "seconds": {"train": 3600.0, "record": 300.0, "more": 0.0, "choose": 1.25},
        },
        **changes,
    }


def figures(names=("s2l", "random"), sources=None, **changes):
    sources = sources or {"addition": 100, "systems": 10}
    pool = {"rows": 10 * sum(sources.values()), "tokens": 176_973, "mean_loss": 0.5, "truncated": 9, "repeats": 78}
    square = [[1.0 if i == j else 0.0612 for j in range(len(names))] for i in range(len(names))]
    return {
        "s2l": "0.1.0",
        "budget": "11%",
        "seed": 0,
        "other_seeds": 3,
        "read": 12_345,
        "pool": {**pool, "sources": {name: 10 * rows for name, rows in sources.items()}},
        "methods": [method(name, sources) for name in names],
        "left_out": [],
        "jaccard": square,
        "jaccard_by_chance": [[1.0 if i == j else 0.0582 for j in range(len(names))] for i in range(len(names))],
        "rank_correlation": [[None if i % 2 else value - 0.5 for value in row] for i, row in enumerate(square)],
        "coverage_rows": 1100,
        "purity": {
            "largest_source": 0.9,
            "losses": {"clusters": 100, "purity": 0.93, "shuffled": 0.91},
            "embeddings": None,
        },
        "notes": [],
        **changes,
    }


def printed(found, width=120):
    console = Console(file=io.StringIO(), width=width)
    print_comparison(json.loads(json.dumps(found, allow_nan=False)), console)
    return console.file.getvalue()


def test_every_figure_is_told():
    text = printed(figures())
    for told in (
        "11% of 12,345 rows read, 1,100 of which can be chosen; seed 0, 3 other seeds",
        "1 s2l",
        "2 random",
        "20,383",
        "0.623",
        "0.123",
        "0.457",
        "0.333",
        "0.778",
        "82 (80 to 85)",
        "21.0",
        "1 h 05 min",
        "1.2 s",
        "either chooses; by chance 5.8",
        "6.1",
        "one cluster alone: 90 %",
        "by losses 93 %, 91 % if sources are shuffled (100 clusters)",
        "addition",
    ):
        assert told in text, told


def test_what_is_not_known_is_a_dash_or_a_question_mark():
    found = figures()
    found["methods"][0] = method("s2l", found["methods"][1]["sources"], embedded=False)
    seconds = found["methods"][1]["cost"]["seconds"]
    seconds["more"] = None
    lines = printed(found).splitlines()
    assert next(line for line in lines if "1 s2l" in line).split()[-2:] == ["–", "–"]
    assert any("1 h 05 min + ?" in line for line in lines)
    seconds["train"] = None
    assert not any("1 h 05 min + ?" in line for line in printed(found).splitlines())


def test_methods_left_out_are_named_each_on_a_line_with_its_cost():
    left_out = [
        {"method": "grand", "reason": "gradient-norm-all at step 63 is not recorded yet", "passes": 9.0},
        {"method": "forgetting", "reason": "needs 2 checkpoints", "passes": 0.0},
    ]
    lines = printed(figures(left_out=left_out, notes=["without embeddings"])).splitlines()
    assert lines[-4:] == [
        "without embeddings",
        "left out, unless named by --methods:",
        "  grand: gradient-norm-all at step 63 is not recorded yet (9 forward passes in all)",
        "  forgetting: needs 2 checkpoints",
    ]


@pytest.mark.parametrize("width", [120, 200])
def test_two_dozen_methods_fit_without_a_cut_or_a_wrapped_line(width):
    names = [*(f"method-{i:02d}" for i in range(22)), "confidence-curriculum", "facility-location"]
    sources = {f"source number {i} of a long name": 3 + i for i in range(45)}
    text = printed(figures(names, sources), width)
    assert "…" not in text.replace("… and 5 more", "")
    assert all(cell_len(line) <= width for line in text.splitlines())
    for number, name in enumerate(names, 1):
        rows = [line for line in text.splitlines() if line.strip().startswith(f"{number} {name} ")]
        assert len(rows) >= 3, "figures, stability, overlap"
    overlaps = [line for line in text.splitlines() if "6.1" in line]
    assert sum(line.count("6.1") for line in overlaps) == 24 * 23
    headers = [line.split() for line in text.splitlines() if re.fullmatch(r" *source +pool[ \d]*", line)]
    assert [number for header in headers for number in header[2:]] == [str(i) for i in range(1, 25)]


def test_a_narrow_terminal_loses_no_digit_of_the_overlap():
    text = printed(figures([f"m{i}" for i in range(12)]), width=40)
    assert text.count("6.1") == 12 * 11


def test_one_method_alone_is_a_comparison_too():
    assert "1 s2l" in printed(figures(["s2l"], purity=None))


def test_hostile_sources_stay_text():
    sources = {"\x1b[2J\nerase": 1, "[red]markup[/red]": 2, ":skull:": 3, "\ud800": 4, "": 5, "宽" * 40: 6}
    text = printed(figures(sources=sources))
    assert "\x1b" not in text
    assert r"\x1b[2J\nerase" in text
    assert "[red]markup[/red]" in text
    assert ":skull:" in text
    assert r"\ud800" in text
    assert all(cell_len(line) <= 120 for line in text.splitlines())


@pytest.mark.parametrize(
    ("share", "told"), [(0, "0.0"), (0.0612, "6.1"), (0.09949, "9.9"), (0.0995, "10"), (0.356, "36"), (1, "100")]
)
def test_shares_take_three_characters(share, told):
    assert percent(np.float64(share)) == told
