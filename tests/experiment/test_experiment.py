"""The engine: cells are made once, a stop costs nothing, shared parts are shared, another recipe is refused."""

import json
import re
import shutil
from html import escape
from pathlib import Path

import pytest
from experiment_toys import Counted, Diverging, Made, recipe_of, settings_of, write_pool

from s2l.errors import DataError, NumericsError, RunFolderError, SettingsError
from s2l.experiment.costs import proxy_cost
from s2l.experiment.recipe import parsed
from s2l.experiment.run import experiment, reported
from s2l.files import read_json
from toy_runs import SETTINGS, s2l, write_jsonl


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return write_pool(tmp_path_factory.mktemp("experiment"))


@pytest.fixture(scope="module")
def finished(pool):
    made = Made()
    out = pool.with_name("out")
    return out, experiment(settings_of(pool), out, made.stages), made


def without_times(found):
    text = json.dumps(found)
    return {key: value for key, value in json.loads(text).items() if key not in {"groups", "verdict"}} | {
        "groups": [{**group, "selection": None} for group in found["groups"]],
        "primary_lines": found["verdict"]["lines"][:2],
    }


def test_every_cell_is_drawn_trained_and_evaluated_once(finished):
    _, found, made = finished
    assert found["cells"] == {"done": 10, "all": 10}
    assert sorted(call for call in made.calls if call.startswith("draw")) == [
        f"draw {method} {seed} from tiny-seed-{seed}" for method in ("random", "s2l") for seed in (0, 1)
    ]
    trained = [call for call in made.calls if call.startswith("train")]
    assert len(trained) == len(set(trained)) == 10
    assert [call for call in trained if "all rows" in call] == ["train all rows epochs 0", "train all rows epochs 1"]


def test_seeds_are_whole_before_the_next_one_begins(finished):
    _, _, made = finished
    seeds = [call.rpartition(" ")[2] for call in made.calls if call.startswith("evaluate")]
    assert seeds == ["0"] * 5 + ["1"] * 5


def test_one_run_for_each_proxy_seed_and_no_model_is_left_behind(finished):
    out, _, _ = finished
    assert sorted(path.name for path in (out / "proxies").iterdir()) == ["tiny-seed-0", "tiny-seed-1"]
    assert not list(out.glob("cells/**/model"))


def test_the_page_of_a_proxys_run_shows_the_experiment(finished):
    out, found, _ = finished
    run = out / "proxies" / "tiny-seed-0"
    assert "Was it worth it?" not in (run / "report.html").read_text(), "written before there was a result"
    assert s2l("report", run).code == 0
    html = (run / "report.html").read_text()
    assert "Was it worth it?" in html
    for line in found["verdict"]["lines"]:
        assert f"<li>{escape(line)}</li>" in html
    assert html.count('<td class="number">2</td></tr>') >= len(found["groups"])


def test_a_finished_experiment_does_nothing_again(finished, pool):
    out, found, _ = finished
    idle = Made()
    assert experiment(settings_of(pool), out, idle.stages) == found
    assert idle.calls == []


@pytest.mark.parametrize("stop_at", ["draw s2l 0 from tiny-seed-0", "train all rows epochs 1", "evaluate all rows 0"])
def test_a_stopped_experiment_goes_on_to_the_same_result(stop_at, finished, pool, tmp_path):
    _, whole, _ = finished
    stopped, rest = Made(stop_at), Made()
    with pytest.raises(KeyboardInterrupt):
        experiment(settings_of(pool), tmp_path / "out", stopped.stages)
    found = experiment(settings_of(pool), tmp_path / "out", rest.stages)
    assert without_times(found) == without_times(whole)
    finished_before = [call for call in stopped.calls[:-1] if call.startswith("evaluate")]
    assert not set(finished_before) & set(rest.calls)


def test_seeds_and_budgets_and_methods_may_be_added(pool, tmp_path):
    out = tmp_path / "out"
    experiment(settings_of(pool, blocks=[{"budgets": ["20%"]}]), out, Made().stages)
    more = Made()
    methods = [{"method": "s2l", "set": {"clusters": 5}}, "random", "full", "el2n"]
    found = experiment(settings_of(pool, methods=methods), out, more.stages)
    assert found["cells"] == {"done": 14, "all": 14}
    assert not [call for call in more.calls if call.startswith("train") and "20pct" in call and "el2n" not in call]


def test_proxies_and_targets_may_be_added_and_keep_their_names(finished, pool, tmp_path):
    whole, found, _ = finished
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    values = recipe_of(pool)
    proxies = values["proxies"] | {"other": values["proxies"]["tiny"] | {"epochs": 2}}
    methods = [*values["methods"], {"method": "s2l", "label": "other", "proxy": "other", "set": {"clusters": 5}}]
    more = Made()
    again = experiment(settings_of(pool, proxies=proxies, methods=methods), out, more.stages)
    assert again["cells"] == {"done": 14, "all": 14}
    assert {call.rpartition(" from ")[2] for call in more.calls if call.startswith("draw")} == {
        "other-seed-0",
        "other-seed-1",
    }
    assert [group for group in again["groups"] if group["method"] != "other"] == found["groups"]
    targets = values["targets"] | {"wide": values["targets"]["tiny"] | {"width": 64}}
    assert experiment(settings_of(pool, targets=targets), out, Made().stages)["cells"] == {"done": 20, "all": 20}
    meant_otherwise = {"proxies": values["proxies"] | {"other": values["proxies"]["tiny"]}}
    with pytest.raises(RunFolderError, match=r"proxies\.other"):
        experiment(settings_of(pool, **meant_otherwise), out, Made().stages)


def test_a_name_under_which_nothing_was_made_may_mean_something_else(pool, tmp_path):
    mistyped = {"methods": [{"method": "s2l", "set": {"clusters": 5}}, "random", {"method": "el2n", "label": "other"}]}
    with pytest.raises(KeyboardInterrupt):
        experiment(
            settings_of(pool, **mistyped, seeds=1), tmp_path / "out", Made("draw random 0 from tiny-seed-0").stages
        )
    methods = [*mistyped["methods"][:2], {"method": "middle-perplexity", "label": "other"}]
    assert (
        experiment(settings_of(pool, methods=methods, seeds=1), tmp_path / "out", Made().stages)["cells"]["done"] == 6
    )
    with pytest.raises(RunFolderError, match=r"methods\.other"):
        experiment(settings_of(pool, **mistyped, seeds=1), tmp_path / "out", Made().stages)


def test_a_larger_budget_that_would_change_what_was_drawn_is_refused(pool, tmp_path):
    methods = ["s2l", "random", {"method": "diverse-evol", "label": "rounds"}]
    out, changes = tmp_path / "out", {"methods": methods, "seeds": 1}
    experiment(settings_of(pool, blocks=[{"budgets": ["20%"]}], **changes), out, Made().stages)
    with pytest.raises(RunFolderError, match="holds other rows than were drawn now"):
        experiment(settings_of(pool, **changes), out, Made().stages)


def test_an_unfinished_proxy_goes_on_as_it_was_begun(pool, tmp_path):
    class Killed(Made):
        def draw(self, run, asked, seed, progress):
            (run / "manifest.json").unlink()
            raise KeyboardInterrupt

    out, asked = tmp_path / "out", recipe_of(pool)["proxies"]["tiny"]
    with pytest.raises(KeyboardInterrupt):
        experiment(settings_of(pool, proxies={"tiny": asked}), out, Killed().stages)
    smaller = {"tiny": {**asked, "batch_tokens": 512}}
    assert experiment(settings_of(pool, proxies=smaller), out, Made().stages)["cells"]["done"] == 10
    claimed = [read_json(out / "proxies" / f"tiny-seed-{seed}" / "run.json")["settings"]["proxy"] for seed in (0, 1)]
    assert [proxy["batch_tokens"] for proxy in claimed] == [asked.get("batch_tokens"), 512]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"primary": {"budget": "50%"}}, "primary"),
        ({"split": {"heldout": "11%"}}, "split"),
        ({"methods": [{"method": "s2l", "set": {"clusters": 6}}, "random", "full"]}, "methods.s2l"),
        ({"targets": {"tiny": {"model": "builtin", "layers": 2, "max_length": 64}}}, "targets.tiny"),
        ({"proxies": {"tiny": {"model": "builtin", "epochs": 2}}}, "proxies.tiny"),
    ],
)
def test_a_recipe_that_would_not_compare_is_refused(change, named, finished, pool):
    out, _, _ = finished
    with pytest.raises(RunFolderError, match=named):
        experiment(settings_of(pool, **change), out, Made().stages)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_cell_that_fails_is_left_out_and_named(processes, finished, pool, tmp_path):
    _, whole, _ = finished
    settings, out, told = settings_of(pool), tmp_path / "out", Counted()
    with pytest.raises(NumericsError, match=r"2 cells failed.*tiny/s2l/20pct-epochs/seed-1: the loss of step 3 is nan"):
        experiment(settings, out, Diverging().stages, told, processes=processes)
    first = {("proxies, and draws from them", "proxies"): 2} if processes > 1 else {}
    for stage, total in {**first, ("experiment", "cells"): 10}.items():
        assert told.stages[stage] == told.done[stage] == total
    found = reported(settings, out)
    assert found["cells"] == {"done": 8, "all": 10}
    why = "the loss of step 3 is nan"
    assert found["failed"] == {f"tiny/s2l/{share}-epochs/seed-1": why for share in ("20pct", "50pct")}
    (note,) = (note for note in found["verdict"]["notes"] if why in note)
    assert note.startswith("failed and left out: 2 of the cells; tiny/s2l/20pct-epochs/seed-1")
    assert not any("not done yet" in note for note in found["verdict"]["notes"])
    rest = Made()
    assert without_times(experiment(settings, out, rest.stages)) == without_times(whole)
    assert not list(out.rglob("failed.json"))
    assert len(rest.calls) == 4, "two cells, trained and evaluated; nothing is drawn again"


def test_every_cell_has_its_own_steps_and_answers_where_it_was_asked(pool, tmp_path):
    tests = write_jsonl(tmp_path / "gsm8k.jsonl", [{"question": "1 + 1?", "answer": "2"}])
    asked = {"tasks": ["gsm8k"], "data": [f"gsm8k={tests}"], "threads": 1}
    blocks = [{"budgets": ["20%", "50%"]}, {"matching": "steps", "budgets": ["20%"], "methods": ["random"]}]
    settings = settings_of(pool, evaluate=asked, answer_at=["20%"], blocks=blocks, seeds=1, keep_models=True)
    answered = {}

    class Asking(Made):
        def evaluate(self, model, settings, out, progress, reading):
            answered[model.relative_to(tmp_path / "out" / "cells" / "tiny").parts[:-3]] = settings.tasks
            assert settings.heldout
            right = {task: {"accuracy": 0.5, "questions": 1} for task in settings.tasks}
            return {**super().evaluate(model, settings, out, progress, reading), "tasks": right}

    made = Asking()
    found = experiment(settings, tmp_path / "out", made.stages)
    groups = {(group["method"], group["budget"], group["matching"]): group for group in found["groups"]}
    assert {key: group["training"]["steps"] for key, group in groups.items()} == {
        ("full", "100%", "epochs"): 27,
        **{
            (method, budget, "epochs"): steps
            for method in ("s2l", "random")
            for budget, steps in (("20%", 5), ("50%", 13))
        },
        ("random", "20%", "steps"): 27,
    }
    assert answered == {
        ("full",): ("gsm8k",),
        **{(method, "20pct-epochs"): ("gsm8k",) for method in ("s2l", "random")},
        **{(method, "50pct-epochs"): () for method in ("s2l", "random")},
        ("random", "20pct-steps"): ("gsm8k",),
    }
    assert {key for key, group in groups.items() if "tasks.gsm8k" in group["outcomes"]} == {
        key for key in groups if key[1] != "50%"
    }
    assert len(list(tmp_path.glob("out/cells/**/made.json"))) == 6, "keep_models"


def test_held_out_rows_are_read_as_the_pools_and_none_stands_in_it(tmp_path):
    rows = [{"ask": f"Add {i} and 2.", "say": f"{i + 2}", "output": "no", "kind": "ab"[i % 2]} for i in range(80)]
    pool, heldout = write_jsonl(tmp_path / "pool.jsonl", rows[:60]), write_jsonl(tmp_path / "held.jsonl", rows[60:])
    asked = {"paths": [str(pool)], "columns": {"prompt": "ask", "response": "say"}, "source_column": "kind"}
    changes = {"pool": asked, "split": None, "heldout": [str(heldout)], "blocks": [{"budgets": ["20%"]}], "seeds": 1}
    read = []

    class Looking(Made):
        def evaluate(self, model, settings, out, progress, reading):
            read.append((settings.heldout, reading.columns, reading.source_column))
            return super().evaluate(model, settings, out, progress, reading)

    recipe = parsed(recipe_of(pool) | changes)
    experiment(recipe, tmp_path / "out", Looking().stages)
    assert set(map(str, read)) == {str(((str(heldout),), asked["columns"], "kind"))}
    write_jsonl(heldout, [*rows[60:], rows[0]])
    with pytest.raises(RunFolderError, match=r"held\.jsonl has changed"):
        experiment(recipe, tmp_path / "out", Made().stages)
    with pytest.raises(DataError, match=r"held\.jsonl:21: stands in the pool too, as 1 held-out rows do"):
        experiment(recipe, tmp_path / "other", Made().stages)
    write_jsonl(heldout, rows[60:])
    write_jsonl(pool, rows[:50])
    with pytest.raises(RunFolderError, match=r"pool\.jsonl has changed since its first cell"):
        experiment(recipe, tmp_path / "out", Made().stages)


def test_a_report_of_nothing_makes_nothing(pool, tmp_path):
    with pytest.raises(RunFolderError, match="no experiment of s2l"):
        reported(settings_of(pool), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_order_of_names_is_the_same_experiment_and_targets_stay(finished, pool):
    out, found, _ = finished
    targets = {"other": {"model": "builtin", "layers": 1}, **recipe_of(pool)["targets"]}
    with pytest.raises(RunFolderError, match="another primary;"):
        experiment(settings_of(pool, targets=targets), out, Made().stages)
    assert found["primary"]["target"] == "tiny"


def test_what_a_missing_cell_leaves_open_is_said(pool, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        experiment(settings_of(pool), tmp_path / "out", Made("train all rows epochs 1").stages)
    found = reported(settings_of(pool), tmp_path / "out")
    assert found["cells"] == {"done": 5, "all": 10}
    assert any("not done yet: 5 of the cells" in note for note in found["verdict"]["notes"])
    assert "nothing can be said" in found["verdict"]["lines"][0]
    page = (tmp_path / "out" / "experiment.md").read_text()
    assert "one seed: no interval" in page and "1 missing" in page


def test_a_method_that_sees_fewer_checkpoints_draws_from_a_view(pool, tmp_path):
    methods = [{"method": "s2l", "set": {"clusters": 5}, "checkpoints": [1, 2]}, "random"]
    made = Made()
    found = experiment(settings_of(pool, methods=methods, blocks=[{"budgets": ["20%"]}]), tmp_path / "out", made.stages)
    assert "draw s2l 0 from tiny-seed-0-at-1-2" in made.calls
    entry = next(group for group in found["groups"] if group["method"] == "s2l")
    whole = proxy_cost(tmp_path / "out" / "proxies" / "tiny-seed-0")
    assert entry["selection"]["record_flops"] == pytest.approx(2 * whole.forward)
    assert entry["selection"]["train_flops"] == pytest.approx(whole.training * whole.steps[1] / whole.steps[3])


def test_a_dry_run_lists_cells_and_trains_nothing(pool, tmp_path):
    write_recipe(tmp_path / "toy.yaml", pool)
    outcome = s2l("experiment", tmp_path / "toy.yaml", "--out", tmp_path / "out", "--dry-run")
    assert outcome.code == 0, outcome.err
    assert "tiny/s2l/20pct-epochs/seed-1: 54 rows, 2 steps, 54 rows seen" in outcome.out
    assert "10 cells" in outcome.out
    assert not (tmp_path / "out").exists()


def test_budgets_in_tokens_are_compared_at_as_many_tokens(pool, tmp_path):
    out = tmp_path / "out"
    found = experiment(settings_of(pool, blocks=[{"budgets": ["20%", "2k-tokens"]}]), out, Made().stages)
    groups = {(one["method"], one["budget"]): one for one in found["groups"]}
    assert groups["s2l", "2k-tokens"]["outcomes"]["heldout.macro"]["to_random"]["seeds"] == [0, 1]
    for method in ("s2l", "random"):
        for seed in (0, 1):
            drawn = read_json(out / "draws" / method / f"seed-{seed}.json")["subsets"]
            assert 1900 < drawn["2k-tokens"]["tokens"] <= 2000
            assert drawn["2k-tokens"]["rows"] != drawn["20%"]["rows"] == 54
    write_recipe(tmp_path / "toy.yaml", pool, blocks=[{"budgets": ["20%", "2k-tokens"]}])
    outcome = s2l("experiment", tmp_path / "toy.yaml", "--out", tmp_path / "other", "--dry-run")
    told = int(re.search(r"tiny/s2l/2k-tokens-epochs/seed-0: (\d+) rows", outcome.out)[1])
    assert told == pytest.approx(drawn["2k-tokens"]["rows"], rel=0.5)


def test_a_folder_with_other_files_is_refused(pool, tmp_path):
    write_recipe(tmp_path / "toy.yaml", pool)
    outcome = s2l("experiment", tmp_path / "toy.yaml", "--out", tmp_path)
    assert "holds other files" in outcome.error


def test_a_recipe_without_a_folder_is_one_line(pool, tmp_path):
    write_recipe(tmp_path / "toy.yaml", pool)
    outcome = s2l("experiment", tmp_path / "toy.yaml")
    assert outcome.code == SETTINGS and "--out" in outcome.error


def write_recipe(path: Path, pool: Path, **change: object) -> None:
    path.write_text(json.dumps(recipe_of(pool, **change)))  # JSON is YAML


def test_the_real_thing_on_300_rows_killed_once_ends_with_the_table(pool, tmp_path, driver):
    split, first = {"heldout": "10%", "pretrain": "20%"}, {"epochs": 1, "max_length": 64, "threads": 1}
    (tmp_path / "toy.yaml").write_text(json.dumps(recipe_of(pool, split=split, pretrain=first)))
    words = ("experiment", tmp_path / "toy.yaml", "--out", tmp_path / "out")
    killed = driver.run(*words, strike="s2l.experiment.bench:write_json", at=5)
    assert killed.code == -9, killed.err
    assert not (tmp_path / "out" / "experiment.json").is_file()
    outcome = driver.run(*words, "--processes", "2")
    assert outcome.code == 0, outcome.err
    assert "10 of 10 cells are done" in outcome.out
    page = (tmp_path / "out" / "experiment.md").read_text()
    assert "| tiny | epochs | 20% | **s2l** | 42 |" in page
    found = json.loads((tmp_path / "out" / "experiment.json").read_text())
    assert parsed(found["settings"]) == settings_of(pool, split=split, pretrain=first)
    assert all(group["outcomes"]["heldout.macro"]["value"]["mean"] > 0 for group in found["groups"])
    assert found["starts"]["tiny"]["heldout.macro"] > 0 and "not fine-tuned" in page


def test_models_are_first_trained_on_their_own_share(pool, tmp_path):
    made = Made()
    split = {"heldout": "10%", "pretrain": "30%"}
    changes = {"split": split, "pretrain": {"epochs": 1, "max_length": 64}, "blocks": [{"budgets": ["20%"]}]}
    with pytest.raises(SettingsError, match="tokenizer"):  # the made-up model is none to train a proxy from
        experiment(settings_of(pool, **changes), tmp_path / "out", made.stages)
    assert made.calls == ["train files epochs 0"] * 2 + ["evaluate files 0"]
    assert sorted(path.name for path in (tmp_path / "out" / "models").iterdir()) == ["proxy-tiny", "target-tiny"]
    fresh = {"tiny": recipe_of(pool)["proxies"]["tiny"] | {"pretrained": False}}
    found = experiment(settings_of(pool, **changes, proxies=fresh), tmp_path / "fresh", Made().stages)
    assert found["cells"] == {"done": 6, "all": 6}
    assert [path.name for path in (tmp_path / "fresh" / "models").iterdir()] == ["target-tiny"]


def test_odd_rows_of_the_pool_are_no_hindrance(tmp_path):
    rows = [
        {"instruction": f"<b>Was ist {i}?\u202e</b>", "output": "|" * (i + 1), "source": "a|b\n#"} for i in range(60)
    ]
    odd = write_jsonl(tmp_path / "odd.jsonl", rows)
    found = experiment(
        settings_of(odd, title="<script>|x|</script>", blocks=[{"budgets": ["20%"]}]), tmp_path / "out", Made().stages
    )
    page = (tmp_path / "out" / "experiment.md").read_text()
    assert "<script>" not in page and "\\<script\\>" in page
    assert found["split"]["rows"]["pool"] == 54


def test_runs_that_were_made_elsewhere_take_the_place_of_a_proxy(finished, pool, tmp_path):
    out, found, _ = finished
    runs = [str(out / "proxies" / f"tiny-seed-{seed}") for seed in (0, 1)]
    before = {path: path.read_bytes() for path in Path(runs[0]).rglob("*.json")}
    made = Made()
    again = experiment(settings_of(pool, proxies={}, recorded={"theirs": runs}), tmp_path / "out", made.stages)
    assert sorted(call for call in made.calls if call.startswith("draw s2l")) == [
        f"draw s2l {seed} from theirs-seed-{seed}" for seed in (0, 1)
    ]
    for ours, theirs in zip(again["groups"], found["groups"], strict=True):
        assert ours["outcomes"] == theirs["outcomes"]
        if ours["selection"] is not None:
            assert ours["selection"]["flops"] == 0 < theirs["selection"]["flops"] + (ours["method"] == "random")
    assert {path: path.read_bytes() for path in before} == before


def test_seeds_are_added_with_their_recorded_runs(finished, pool, tmp_path):
    whole, found, _ = finished
    runs = [str(whole / "proxies" / f"tiny-seed-{seed}") for seed in (0, 1)]
    one, both = ({"proxies": {}, "recorded": {"theirs": runs[:n]}, "seeds": n} for n in (1, 2))
    out = tmp_path / "out"
    experiment(settings_of(pool, **one), out, Made().stages)
    again = experiment(settings_of(pool, **both), out, Made().stages)
    assert [group["outcomes"] for group in again["groups"]] == [group["outcomes"] for group in found["groups"]]
    assert experiment(settings_of(pool, **one), out, Made().stages)["cells"]["done"] == 5
    turned = {"recorded": {"theirs": runs[::-1]}}
    with pytest.raises(RunFolderError, match=r"recorded\.theirs"):
        experiment(settings_of(pool, **both | turned), out, Made().stages)


def test_runs_of_another_pool_or_too_few_are_refused(finished, pool, tmp_path):
    out, _, _ = finished
    runs = [str(out / "proxies" / f"tiny-seed-{seed}") for seed in (0, 1)]
    with pytest.raises(SettingsError, match=r"recorded\.theirs: needs a name of its own and 2 runs"):
        settings_of(pool, recorded={"theirs": runs[:1]})
    with pytest.raises(SettingsError, match="name a small model, or finished runs"):
        settings_of(pool, proxies={})
    other = settings_of(pool, recorded={"theirs": runs}, proxies={}, split={"heldout": "20%"})
    with pytest.raises(DataError, match="recorded from another pool"):
        experiment(other, tmp_path / "out", Made().stages)
    unfinished = settings_of(pool, recorded={"theirs": [str(tmp_path)] * 2}, proxies={})
    with pytest.raises(RunFolderError, match="no finished run"):
        experiment(unfinished, tmp_path / "other", Made().stages)
