"""Held-out loss: the naive mean over every response token, of each source and over sources."""

import numpy as np
import pytest

from s2l.errors import DataError
from s2l.progress import SILENT
from s2l.target.evaluate_settings import EvaluateSettings
from s2l.target.evaluated import opened
from s2l.target.heldout import by_source, heldout
from toy_models import loss_of_one_row
from toy_runs import EMPTY, tiny_llama, toy_rows, write_jsonl


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    folder = tiny_llama(tmp_path_factory.mktemp("model"))
    return opened(str(folder), EvaluateSettings(heldout=("x",), template="short", max_length=64))


def test_losses_are_the_models_own(evaluated, tmp_path):
    rows = toy_rows()[:60]
    file = write_jsonl(tmp_path / "rows.jsonl", rows)
    found = heldout(evaluated, [str(file)], workers=2)
    pool, tokens = evaluated.read([str(file)], SILENT)
    nll = {source: [0.0, 0, 0] for source in ("add", "say", "more")}
    for row, id_ in enumerate(tokens.ids):
        source = pool.rows.sources[pool.rows.source_N[np.flatnonzero(pool.rows.ids == id_)[0]]]
        count = int(tokens.response_lengths[row])
        for place, value in enumerate((loss_of_one_row(evaluated.model, tokens, row) * count, count, 1)):
            nll[source][place] += value
    for source, (total, count, n) in nll.items():
        assert found["by_source"][source] == {
            "loss": pytest.approx(total / count, rel=1e-5),
            "rows": n,
            "tokens": count,
        }
    sums = np.array(list(nll.values()))
    assert found["loss_per_token"] == pytest.approx(sums[:, 0].sum() / sums[:, 1].sum(), rel=1e-5)
    assert found["macro"] == pytest.approx((sums[:, 0] / sums[:, 1]).mean(), rel=1e-5)
    assert found["excluded"] == {"empty response": 1}
    assert found["rows"] == 59
    assert EMPTY < 60


def test_row_order_and_several_files_do_not_matter(evaluated, tmp_path):
    rows = toy_rows()[:30]
    one = heldout(evaluated, [str(write_jsonl(tmp_path / "a.jsonl", rows))], workers=1)
    files = [write_jsonl(tmp_path / "b.jsonl", rows[:4:-1]), write_jsonl(tmp_path / "c.jsonl", rows[:5])]
    other = heldout(evaluated, list(map(str, files)), workers=2)
    for name in ("loss_per_token", "macro", "by_source", "rows", "tokens", "excluded"):
        assert one[name] == pytest.approx(other[name], rel=1e-6) if name != "by_source" else True
    for source in one["by_source"]:
        assert one["by_source"][source] == pytest.approx(other["by_source"][source], rel=1e-6)


def test_a_source_without_a_row_that_can_be_scored_is_left_out():
    found = by_source(np.array([2.0, 6.0]), np.array([1, 4]), np.array([0, 2]), ("a", "b", "c"))
    assert found["by_source"] == {
        "a": {"loss": 2.0, "rows": 1, "tokens": 1},
        "c": {"loss": 1.5, "rows": 1, "tokens": 4},
    }
    assert found["loss_per_token"] == 8 / 5
    assert found["macro"] == (2.0 + 1.5) / 2


def test_no_row_that_can_be_scored_is_an_error(evaluated, tmp_path):
    file = write_jsonl(tmp_path / "rows.jsonl", [{"instruction": "a", "output": ""}])
    with pytest.raises(DataError, match="no row of the pool can be scored"):
        heldout(evaluated, [str(file)])
