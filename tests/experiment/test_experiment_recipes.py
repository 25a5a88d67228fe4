"""Recipes: those in recipes/ and in the docs parse; a mistake is one line that says what would be right."""

import re
from pathlib import Path

import pytest
import yaml
from experiment_toys import recipe_of

from s2l.config import ProxySettings
from s2l.errors import SettingsError
from s2l.experiment.cells import budgets_of, cells_of
from s2l.experiment.recipe import parsed
from s2l.forecast.flops import shape_of
from s2l.proxy.builtin import build_model

TABLES = {
    "paper-mathinstruct-phi2": ("steps", "30000", "50000", "100000"),
    "paper-mathinstruct-pythia410m": ("steps", "30000", "50000", "100000", "200000"),
    "paper-mathinstruct-phi3-mini": ("epochs", "131020"),
    "paper-clinical": ("epochs", "50%"),
}
"""Matching and budgets of the paper's tables."""
ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


def settings_in(path):
    return parsed(yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_one(path):
    settings = settings_in(path)
    assert cells_of(settings)
    assert parsed(settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("paper-*.yaml")), ids=lambda path: path.stem)
def test_what_was_not_run_here_says_so(path):
    settings = settings_in(path)
    assert "not run" in settings.note
    assert "NOT RUN HERE" in path.read_text(encoding="utf-8")
    (proxy,) = settings.proxies.values()
    assert (proxy.epochs, proxy.learning_rate, proxy.batch_size, proxy.checkpoints) == (3, 2e-5, 128, 12)
    assert settings.method("s2l").set == {"clusters": 100}
    assert settings.tokens.max_length == 512
    for target in settings.targets.values():
        assert (target.epochs, target.settled("learning_rate"), target.settled("batch_size")) == (3, 2e-5, 128)
        assert (target.warmup, target.max_length, target.template, target.lora_rank) == (0.03, 512, "alpaca", None)
    (block,) = settings.blocks
    assert (block.matching, *block.budgets) == TABLES[path.stem]
    assert len(settings.evaluate.tasks) == (0 if settings.evaluate.summaries else 6)


def test_the_recipes_in_the_docs_are_recipes():
    blocks = re.findall(
        r"^```yml\n(.*?)^```$", (ROOT / "docs" / "experiments.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert blocks
    for block in blocks:
        parsed(yaml.safe_load(block))


def test_the_miniature_is_as_small_as_it_says():
    settings = settings_in(ROOT / "recipes" / "miniature.yaml")
    (proxy,), (target,) = settings.proxies.values(), settings.targets.values()

    def without_embeddings(shape):
        return shape_of(build_model(ProxySettings(layers=shape.layers, width=shape.width), 4096, 0, 256, 0)).trunk

    ours, theirs = without_embeddings(proxy), without_embeddings(target)
    assert theirs <= 1.9e6 and 4.4 <= theirs / ours <= 5
    assert settings.split.pool == "20000" and settings.evaluate.limit == 200 and settings.answer_at == ("11%",)
    assert len([cell for cell in cells_of(settings) if cell.seed == 0]) == 7 * 3 + 1 + 3 + 1


def test_full_is_trained_once_a_seed_and_budgets_are_drawn_together():
    settings = settings_in(ROOT / "recipes" / "miniature.yaml")
    assert len([cell for cell in cells_of(settings) if cell.label == "full"]) == 5
    assert budgets_of(settings, "s2l") == ("5%", "11%", "25%")


def test_folders_of_cells_are_told_apart():
    for path in RECIPES:
        cells = cells_of(settings_in(path))
        assert len({cell.folder for cell in cells}) == len(cells)


POOL = Path("pool.jsonl")
PROXIES = {"tiny": {"model": "builtin"}, "other": {"model": "builtin", "vocabulary": 1000}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"methods": ["s2l", "random", "s3l"]}, "no selection method 's3l'"),
        ({"methods": [{"method": "s2l", "set": {"cluster": 5}}, "random"]}, "no setting 'cluster'"),
        ({"methods": ["s2l", "s2l", "random"]}, "two are called 's2l'"),
        ({"methods": [{"method": "el2n", "label": "random"}, "s2l"]}, "cannot be the label"),
        ({"methods": [{"method": "s2l", "label": "../up"}, "random"]}, "label"),
        ({"methods": [{"method": "s2l", "proxy": "big"}, "random"]}, "there are: tiny"),
        ({"blocks": [{"budgets": ["2M tokens"]}]}, "2M tokens"),
        ({"blocks": [{"budgets": ["200%"]}]}, "above 100%"),
        ({"blocks": [{"budgets": ["20%"], "methods": ["s2l"]}]}, "no block trains 'random'"),
        ({"primary": {"budget": "30%"}}, "no block trains 's2l' at 30%"),
        ({"primary": {"budget": "20%", "outcome": "heldout.marco"}}, "'heldout.marco' is not in the recipe"),
        ({"primary": {"budget": "20%", "outcome": "tasks.gsm8k"}}, "'tasks.gsm8k' is not in the recipe"),
        ({"primary": {"budget": "20%", "method": "full"}}, "name what is compared"),
        ({"heldout": ["h.jsonl"]}, "not both"),
        ({"split": None}, "nothing is measured"),
        ({"pretrain": {"epochs": 1}}, "split.pretrain"),
        ({"split": {"heldout": "10%", "style": "("}}, "split.style '('"),
        ({"split": {"heldout": "2k-tokens"}}, "is in tokens; say rows"),
        ({"targets": {"tiny": {"epochs": 1}}}, "targets.tiny: name the model"),
        ({"targets": {"tiny": {"model": "builtin", "pool_rows": 99}}}, "the cell's"),
        ({"methods": ["s2l", {"method": "random", "balance": "source"}]}, "is plain"),
        ({"methods": [{"method": "s2l", "checkpoints": [13]}, "random"]}, "the proxy records 4"),
        (
            {"primary": {"budget": "20%", "outcome": "summaries.bertscore"}, "evaluate": {"summaries": "s.jsonl"}},
            "'summaries.bertscore' is not in the recipe",
        ),
        ({"proxies": {"mine": {"model": "a-model", "pretrained": False}}}, "is for `builtin` alone, not 'a-model'"),
        (
            {"proxies": PROXIES, "methods": ["s2l", "random", {"method": "s2l", "label": "other", "proxy": "other"}]},
            "targets.tiny: takes its tokens from a method's proxy, and tiny, other differ; name one `tokenizer`",
        ),
        (
            {
                "proxies": {"small": {"model": "builtin"}, "hub": {"model": "EleutherAI/pythia-70m"}},
                "targets": {"tiny": {"model": "EleutherAI/pythia-410m"}},
                "methods": ["s2l", "random", {"method": "s2l", "label": "other", "proxy": "hub"}],
            },
            "takes its template from a method's proxy, and small, hub differ; name the target's `template`",
        ),
        ({"proxy_seeds": 1}, "proxy_seeds"),
        ({"seed": 3}, "no setting 'seed'"),
        ({"title": None}, "title"),
    ],
)
def test_a_mistake_is_one_line(change, said):
    with pytest.raises(SettingsError) as caught:
        parsed(recipe_of(POOL, **change))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_named():
    values = recipe_of(POOL)
    del values["targets"]
    with pytest.raises(SettingsError, match="targets is missing"):
        parsed(values)
