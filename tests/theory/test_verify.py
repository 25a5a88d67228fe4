"""`s2l verify` on whole runs: the run's own subset, targets that are known, mistakes, and what it prints."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from s2l.pipeline import finished
from s2l.progress import SILENT
from s2l.theory.run import looked_at, opened
from s2l.theory.settings import VerifySettings
from toy_runs import DATA, FOLDER, SETTINGS, kept_ids, manifest, run_of, s2l, tiny_llama

FEW = ("--rows", "40", "--checkpoints", "2", "--dimensions", "64", "--draws", "3")


def verified(run, *words):
    outcome = s2l("verify", run, *FEW, *words, "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert found == json.loads((run / "verification.json").read_text())
    return found


@pytest.fixture(scope="module")
def target_run(toy_pool, tmp_path_factory):
    """A run whose rows fit the short window with the template that a target has too, and a folder of a Llama."""
    folder = tmp_path_factory.mktemp("targets")
    outcome = run_of(toy_pool, folder / "run", "--template", "short", budget="11%")
    assert outcome.code == 0, outcome.err
    tiny_llama(folder / "llama")
    return folder / "run"


def test_gradients_subsets_and_sentences_of_every_picked_checkpoint(own_run):
    found = verified(own_run)
    steps = manifest(own_run)["proxy"]["plan"]["saves"]
    assert [model["step"] for model in found["models"]] == [steps[0], steps[-1]]
    for model in found["models"]:
        clusters, sources, (mean,) = model["clusters"], model["sources"], model["mean_gradient"]
        assert model["rows"] == found["rows"]["pairs"] == clusters["rows"]
        assert clusters["groups"] == found["rows"]["clusters_of_pairs"]
        assert sources["groups"] == 3
        assert (mean["budget"], mean["rows"], mean["pool"]) == ("11%", 17, 148)
        assert len(mean["random"]) == 3
        assert 0 < mean["unweighted"]["error"] < 5
        assert 1 <= mean["rank_unweighted"] <= 4
        assert clusters["sentence"].startswith("Gradients of rows in one cluster are ")
        assert mean["sentences"][1].startswith("S2L's subset, weighted by cluster, is ")
    assert found["trajectories"] is None


def test_the_subset_is_the_runs_own(toy_run):
    with finished(toy_run) as (folder, made):
        run = opened(folder, made, SILENT)
        looked = looked_at(run, VerifySettings(), SILENT)
        part = looked_at(run, VerifySettings(pool_rows=60), SILENT)
    assert {id_.decode() for id_ in run.ids[looked.budgets["11%"]]} == kept_ids(toy_run / "subsets" / "s2l-11pct")
    assert len(part.pool) == 60
    assert part.budgets["11%"].sum() == round(17 * 60 / 148)
    assert run.repeat_N.sum() == 1
    assert not run.repeat_N[looked.pairs].any()
    clusters = run.cluster_N[looked.pairs]
    assert np.bincount(clusters)[np.unique(clusters)].min() >= 2


def test_the_same_again_finds_the_same_and_another_seed_another_sample(own_run):
    first, again, other = (verified(own_run, "--seed", seed) for seed in ("5", "5", "6"))
    assert again["models"] == first["models"]
    assert other["models"][0]["clusters"]["inside"] != first["models"][0]["clusters"]["inside"]


def test_it_prints_tables_sentences_and_what_it_does_not_show(own_run):
    outcome = s2l("verify", own_run, *FEW)
    assert outcome.code == 0, outcome.err
    for words in ("inside", "between", "shuffled", "rank", "random", "Gradients of rows in one source", "Budget 11%"):
        assert words in outcome.out
    assert "What this does not show" in outcome.out
    assert "forward passes over 148 rows" in outcome.err
    assert str(own_run) in outcome.out.replace("\n", "")


def test_without_draws_the_mean_gradient_is_left_out(own_run):
    found = verified(own_run, "--draws", "0")
    assert [model["mean_gradient"] for model in found["models"]] == [[], []]


def test_a_target_that_is_the_proxy_has_the_proxys_gradients_and_trajectories(own_run):
    proxy = own_run / "proxy"
    last = sorted(proxy.glob("step-*"))[-1]
    found = verified(own_run, "--model", last, "--target-checkpoints", proxy)
    *_, at_end, target = found["models"]
    assert (target["model"], target["step"], target["not_scorable"]) == (str(last), None, 0)
    for name in ("clusters", "sources"):
        assert target[name]["inside"] == pytest.approx(at_end[name]["inside"])
        assert target[name]["interval"] == pytest.approx(at_end[name]["interval"])
    assert target["mean_gradient"][0]["unweighted"] == pytest.approx(at_end["mean_gradient"][0]["unweighted"])
    trajectories = found["trajectories"]
    assert [at["proxy_step"] for at in trajectories["checkpoints"]] == manifest(own_run)["proxy"]["plan"]["saves"]
    assert all(at["correlation"] > 0.99 for at in trajectories["checkpoints"])
    assert trajectories["over_time"]["mean"] > 0.95
    assert trajectories["rows"] == 40


def test_another_model_reads_the_pool_by_its_own_tokenizer(target_run):
    llama = target_run.with_name("llama")
    found = verified(target_run, "--model", llama)
    target = found["models"][-1]
    assert target["model"] == str(llama)
    assert target["rows"] + target["not_scorable"] == found["rows"]["pairs"]
    assert target["clusters"]["sentence"] != found["models"][0]["clusters"]["sentence"]


def test_checkpoints_of_another_model_are_read_in_order_of_step(target_run, tmp_path):
    llama = target_run.with_name("llama")
    for step in (30, 100, 60):
        model = AutoModelForCausalLM.from_pretrained(llama)
        with torch.no_grad():
            model.lm_head.weight.mul_(1 + step / 100)
        model.save_pretrained(tmp_path / f"checkpoint-{step}")
    for path in llama.glob("tokenizer*"):
        shutil.copy(path, tmp_path)
    outcome = s2l("verify", target_run, *FEW, "--draws", "0", "--target-checkpoints", tmp_path)
    assert outcome.code == 0, outcome.err
    assert "rank correlation" in outcome.out
    found = json.loads((target_run / "verification.json").read_text())["trajectories"]
    assert [at["target_step"] for at in found["checkpoints"]] == [30, 60, 100]
    assert found["over_time"]["checkpoints"] == 3


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--rows", "2"), SETTINGS, "--rows '2': Input should be greater than or equal to 4"),
        (("--dimensions", "100"), SETTINGS, "--dimensions '100': Input should be a multiple of 64"),
        (("--draws", "1"), SETTINGS, "one draw has no spread"),
        (("--budget", "149"), SETTINGS, "budget 149 asks for 149 rows"),
        (("--model", "./nowhere"), SETTINGS, "no such folder; give the path of a local folder"),
        (("--target-checkpoints", "nowhere"), SETTINGS, "no trained checkpoint in it"),
        (("--device", "abacus"), SETTINGS, "no device 'abacus'"),
    ],
)
def test_mistakes_are_one_line(own_run, words, code, said):
    outcome = s2l("verify", own_run, *FEW, *words)
    assert outcome.code == code
    assert said in outcome.error
    assert not (own_run / "verification.json").exists()


def test_it_wants_a_finished_run_and_the_pool_for_another_model(own_run, tmp_path):
    assert s2l("verify", tmp_path).code == FOLDER
    claimed = json.loads((own_run / "run.json").read_text())
    claimed["settings"]["pool"]["paths"] = ["gone.jsonl"]
    (own_run / "run.json").write_text(json.dumps(claimed))
    outcome = s2l("verify", own_run, *FEW, "--model", Path(own_run) / "proxy")
    assert outcome.code == DATA
    (own_run / "manifest.json").unlink()
    assert "the run is not finished" in s2l("verify", own_run, *FEW).error
