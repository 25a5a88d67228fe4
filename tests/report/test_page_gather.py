"""What the page shows, against naive computations from the run's files."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from page_toys import look
from transformers import AutoTokenizer

from s2l.data.tokens import load_tokens
from s2l.errors import RunFolderError, SettingsError
from s2l.progress import SILENT
from s2l.report.page.again import token_losses
from s2l.report.page.changes import distribution, extremes
from s2l.report.page.gather import gather
from s2l.report.page.plane import principal, sample
from s2l.run_folder import hold
from toy_runs import REPEAT, kept_ids, s2l, verdicts


@pytest.fixture(scope="module")
def found(toy_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What is gathered of the toy run."""
    copy = Path(shutil.copytree(toy_run, tmp_path_factory.mktemp("gather") / "run"))
    with hold(copy) as folder:
        gathered = gather(folder)
    json.dumps(gathered, allow_nan=False)
    return gathered


def recorded(run: Path, statistic: str = "nll") -> dict[str, list[float]]:
    """Id → the statistic per response token at every checkpoint, straight from the files."""
    means: dict[str, list[float]] = {}
    for step in sorted((run / "trajectories").glob("step-*")):
        for row in pq.read_table(step / "shard-00000.parquet").to_pylist():
            means.setdefault(row["id"], []).append(row[statistic] / row["tokens"])
    return means


def test_curves_are_means_and_quantiles_of_the_clusters(toy_run: Path, found: dict[str, Any]) -> None:
    losses, rows = recorded(toy_run), verdicts(toy_run / "subsets/s2l-11pct")
    groups = {group["number"]: group for group in found["curves"]["groups"]}
    assert groups.keys() == {row["cluster"] for row in rows if row["cluster"] is not None}
    for number, group in groups.items():
        members = [row for row in rows if row["cluster"] == number]
        losses_nT = np.array([losses[row["id"]] for row in members])
        assert group["rows"] == len(members)
        assert group["chosen"] == sum(row["kept"] for row in members)
        np.testing.assert_allclose(group["mean"], losses_nT.mean(axis=0), atol=6e-4)
        np.testing.assert_allclose(group["low"], np.quantile(losses_nT, 0.1, axis=0), atol=6e-4)
        np.testing.assert_allclose(group["high"], np.quantile(losses_nT, 0.9, axis=0), atol=6e-4)
        assert group["source"] in {row["source"] for row in members}
    everything = np.array(list(losses.values()))
    np.testing.assert_allclose(found["curves"]["all"]["mean"], everything.mean(axis=0), atol=6e-4)
    chosen = np.array([losses[id_] for id_ in kept_ids(toy_run / "subsets/s2l-11pct")])
    np.testing.assert_allclose(found["curves"]["chosen"]["mean"], chosen.mean(axis=0), atol=6e-4)


def test_shares_of_sources_are_counts_of_rows_that_can_be_chosen(toy_run: Path, found: dict[str, Any]) -> None:
    rows = [row for row in verdicts(toy_run / "subsets/s2l-11pct") if row["tokens"] is not None]
    pool, chosen = Counter(row["source"] for row in rows), Counter(row["source"] for row in rows if row["kept"])
    assert {source["name"] for source in found["changes"]["sources"]} == pool.keys()
    for source in found["changes"]["sources"]:
        name = source["name"]
        assert (source["rows"], source["chosen"]) == (pool[name], chosen[name])
        assert source["share"] == pytest.approx(pool[name] / len(rows), abs=1e-5)
        ratio = chosen[name] / chosen.total() / (pool[name] / len(rows))
        assert source["ratio"] == pytest.approx(ratio, abs=1e-3)


def test_the_other_subset_is_compared_with_chance(toy_run: Path, found: dict[str, Any]) -> None:
    one, other = (kept_ids(toy_run / f"subsets/{name}-11pct") for name in ("s2l", "random"))
    rows = found["summary"]["scorable"]
    assert found["changes"]["overlaps"] == [
        {"name": "random-11pct", "rows": 17, "shared": len(one & other), "by_chance": round(17 * 17 / rows, 1)}
    ]


def test_extremes_need_an_expected_row() -> None:
    def group(rows: int, chosen: int) -> dict[str, Any]:
        return {"rows": rows, "chosen": chosen, "ratio": chosen / 10 / (rows / 100)}

    groups = [group(60, 3), group(30, 3), group(6, 3), group(4, 1)]
    assert extremes(groups) == {"over": [], "under": [groups[0]]}
    assert extremes([]) == {"over": [], "under": []}


def test_a_distribution_counts_every_row_once() -> None:
    values_N = np.array([1, 1, 2, 3, 5, 8, 13, 700])
    kept_N = values_N > 4
    shape = distribution(values_N, kept_N)
    edges = np.array(shape["edges"])
    inside = np.clip(np.searchsorted(edges, values_N, side="right") - 1, 0, len(edges) - 2)
    np.testing.assert_allclose(shape["all"], np.bincount(inside, minlength=len(edges) - 1) / 8, atol=1e-5)
    np.testing.assert_allclose(shape["chosen"], np.bincount(inside[kept_N], minlength=len(edges) - 1) / 4, atol=1e-5)
    assert (shape["median"], shape["chosen_median"]) == (4, 10.5)
    flat = distribution(np.full(5, 2.5), np.zeros(5, dtype=bool))
    assert sum(flat["all"]) == 1
    assert flat["chosen"] is None


def test_the_map_is_the_first_two_principal_components(toy_run: Path, found: dict[str, Any]) -> None:
    run = look(toy_run)
    losses_NT = run.trajectories.losses_NT
    centred_NT = losses_NT - losses_NT.mean(axis=0)
    _, singular, axes = np.linalg.svd(centred_NT, full_matrices=False)
    shares = singular**2 / (singular**2).sum()
    np.testing.assert_allclose(found["plane"]["explained"], shares[:2], atol=1e-3)
    shown = np.sort(np.concatenate([sample(run, np.flatnonzero(run.kept_N == kept), 10_000) for kept in (0, 1)]))
    assert len(shown) == len(run)
    for name, axis in (("x", 0), ("y", 1)):
        np.testing.assert_allclose(np.abs(found["plane"][name]), np.abs(centred_NT @ axes[axis]), atol=2e-3)
    assert np.abs(principal(run.trajectories)[1]).max(axis=0) == pytest.approx(
        principal(run.trajectories)[1].max(axis=0)
    )


def test_the_data_map_is_mean_and_deviation_of_the_probability(toy_run: Path, found: dict[str, Any]) -> None:
    probabilities, hits = recorded(toy_run, "p_target"), recorded(toy_run, "hits")
    for name, of in (("confidence", np.mean), ("variability", np.std)):
        np.testing.assert_allclose(
            found["plane"][name], [of(probabilities[id_]) for id_ in sorted(probabilities)], atol=6e-4
        )
    np.testing.assert_allclose(found["plane"]["correctness"], [np.mean(hits[id_]) for id_ in sorted(hits)], atol=6e-3)
    kept = kept_ids(toy_run / "subsets/s2l-11pct")
    assert found["plane"]["chosen"] == [int(id_ in kept) for id_ in sorted(hits)]


def test_the_sample_depends_on_ids_alone(toy_run: Path) -> None:
    run = look(toy_run)
    rows = np.arange(len(run))
    few = sample(run, rows, 10)
    assert len(few) == 10
    assert set(few) == set(sample(run, rows[::-1].copy(), 10))
    assert set(few) < set(sample(run, rows, 20))


def listed(found: dict[str, Any], key: str) -> tuple[list[str], list[str]]:
    """Ids and labels of a list of the page."""
    rows = found["examples"]["rows"]
    entry = next(entry for entry in found["examples"]["lists"] if entry["key"] == key)
    return [rows[i]["id"] for i in entry["rows"]], entry["labels"]


def test_lists_of_rows_that_stand_out(toy_run: Path, found: dict[str, Any]) -> None:
    losses, hits = recorded(toy_run), recorded(toy_run, "hits")
    rows = {row["id"]: row for row in verdicts(toy_run / "subsets/s2l-11pct")}
    once = [id_ for id_ in sorted(losses) if rows[id_]["occurrence"] == 0]
    mean = {id_: np.mean(losses[id_]) for id_ in once}
    assert listed(found, "hardest")[0] == sorted(once, key=lambda id_: -mean[id_])[:10]

    drops = {id_: sum(b < a for a, b in zip(hits[id_], hits[id_][1:], strict=False)) for id_ in once}
    ids, labels = listed(found, "forgotten")
    most = sorted((drops[id_] for id_ in once if drops[id_]), reverse=True)[:10]
    assert [drops[id_] for id_ in ids] == most
    assert labels == [f"fell back {n} times in 3" for n in most]

    def above(id_: str) -> float:
        last = [losses[other][-1] for other in losses if rows[other]["source"] == rows[id_]["source"]]
        return float((losses[id_][-1] - np.mean(last)) / np.std(last))

    assert listed(found, "suspects")[0] == sorted(once, key=lambda id_: -above(id_))[:10]


def test_exact_repeats_are_found_with_all_their_copies(toy_run: Path, found: dict[str, Any]) -> None:
    ids, labels = listed(found, "repeats")
    first, again = (row for row in verdicts(toy_run / "subsets/s2l-11pct") if row["line"] in (REPEAT, REPEAT + 1))
    assert ids == [first["id"]]
    chosen = first["kept"] + again["kept"]
    assert labels == [f"2 copies, {chosen} chosen: pool.jsonl:{REPEAT}, pool.jsonl:{REPEAT + 1}"]


def test_examples_of_a_cluster_are_its_ends_and_rows_between(toy_run: Path, found: dict[str, Any]) -> None:
    examples, rows = found["examples"], verdicts(toy_run / "subsets/s2l-11pct")
    assert len(examples["groups"]) == min(100, found["curves"]["total"])
    for number, kinds in examples["groups"].items():
        members = [row for row in rows if row["cluster"] == int(number)]
        shown = {kind: [examples["rows"][i] for i in places] for kind, places in kinds.items()}
        assert min(row["distance"] for row in members) == pytest.approx(shown["central"][0]["distance"], abs=1e-3)
        if len(members) > 1:
            assert max(row["distance"] for row in members) == pytest.approx(shown["distant"][0]["distance"], abs=1e-3)
        assert all(row["chosen"] for row in shown["chosen"])
        assert not any(row["chosen"] for row in shown["others"])
        places = [i for kind in kinds.values() for i in kind]
        assert len(places) == len(set(places))


def test_rows_scored_again_have_the_losses_that_were_recorded(toy_run: Path, found: dict[str, Any]) -> None:
    run = look(toy_run)
    tokens = load_tokens(toy_run / "tokens.arrow")
    rows = np.array([5, 140, 0, 77])
    again = token_losses(run, tokens, rows, SILENT)
    assert again is not None
    for row, losses in zip(rows, again, strict=True):
        assert len(losses) == run.trajectories.tokens_N[row]
        assert losses.sum() == pytest.approx(run.trajectories.sums["nll"][row, -1], rel=1e-4)
    losses = recorded(toy_run)
    for row in found["examples"]["rows"][:20]:
        pieces = [piece for piece in row["pieces"] if not isinstance(piece, str)]
        if len(pieces) == row["response_tokens"]:
            assert np.mean([loss for _, loss in pieces]) == pytest.approx(losses[row["id"]][-1], abs=0.006)


def test_pieces_join_to_the_text_that_the_proxy_read(toy_run: Path, found: dict[str, Any]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(toy_run / "tokenizer")
    tokens = load_tokens(toy_run / "tokens.arrow")
    by_id = {id_.decode(): slice(*tokens.start_N[i : i + 2]) for i, id_ in enumerate(tokens.ids)}
    for row in found["examples"]["rows"]:
        text = "".join(piece if isinstance(piece, str) else piece[0] for piece in row["pieces"])
        assert text == tokenizer.decode(tokens.input_ids[by_id[row["id"]]])


def test_a_gone_checkpoint_leaves_text_without_losses(own_run: Path) -> None:
    shutil.rmtree(max((own_run / "proxy").glob("step-*")))
    with hold(own_run) as folder:
        assert not gather(folder)["examples"]["scored"]


def test_an_unfinished_run_is_told_apart(own_run: Path) -> None:
    (own_run / "manifest.json").unlink()
    shutil.rmtree(own_run / "subsets")
    with hold(own_run) as folder:
        found = gather(folder)
    assert found["summary"]["subset"] is None
    assert found["curves"]["chosen"] is None
    assert found["curves"]["word"] == "source"
    assert {group["name"] for group in found["curves"]["groups"]} == {"add", "say", "more"}
    assert [entry["rows"] for entry in found["summary"]["excluded"]] == [1, 1]


def test_a_run_without_losses_and_an_unknown_subset_are_refused(own_run: Path) -> None:
    with hold(own_run) as folder:
        with pytest.raises(SettingsError, match=r"--subset 's2l': there are: 'random-11pct', 's2l-11pct'"):
            gather(folder, "s2l")
        (own_run / "subsets/s2l-11pct/selection.parquet").write_bytes(b"PAR1")
        with pytest.raises(RunFolderError, match=r"s2l-11pct: damaged"):
            gather(folder)
        (own_run / "signal.json").unlink()
        with pytest.raises(RunFolderError, match="not recorded yet"):
            gather(folder)


def test_more_checkpoints_and_groups_than_fit_are_thinned(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s2l.report.page.groups.MOST_GROUPS", 3)
    monkeypatch.setattr("s2l.report.page.groups.MOST_POINTS", 2)
    with hold(own_run) as folder:
        curves = gather(folder, with_examples=False)["curves"]
    sizes = Counter(row["cluster"] for row in verdicts(own_run / "subsets/s2l-11pct") if row["cluster"] is not None)
    assert sorted(group["rows"] for group in curves["groups"]) == sorted(sizes.values())[-3:]
    assert curves["total"] == len(sizes)
    saves = json.loads((own_run / "proxy/plan.json").read_text())["saves"]
    assert curves["steps"] == [saves[0], saves[-1]]


def test_a_subset_drawn_later_can_be_looked_at(own_run: Path) -> None:
    assert s2l("select", own_run, "--budget", "30", "--set", "clusters=5").code == 0
    with hold(own_run) as folder:
        found = gather(folder, "s2l-30-clusters-5", with_examples=False)
    assert (found["summary"]["subset"]["rows"], len(found["curves"]["groups"])) == (30, 5)
    assert [other["name"] for other in found["changes"]["overlaps"]] == ["s2l-11pct", "random-11pct"]
