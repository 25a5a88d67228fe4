"""An experiment's recipe: the data, the methods, what is crossed with what, and the one outcome named beforehand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from s2l.config import BUILTIN, Paths, PoolSettings, ProxySettings, Settings, TokenSettings
from s2l.errors import S2LError, SettingsError, shown
from s2l.selection.budget import parse_budget
from s2l.target.evaluate_settings import EvaluateSettings
from s2l.target.settings import TrainSettings

Matching = Literal["epochs", "steps"]
FULL, RANDOM = "full", "random"
MACRO = "heldout.macro"
HELDOUT = (MACRO, "heldout.loss_per_token")
SUMMARIES = ("summaries.rouge_l", "summaries.bleu", "summaries.bertscore")
NAME = r"[A-Za-z0-9][\w.+-]{0,63}"
LAST_REQUEST = r"(?:let'?s|please)\b[^.?!]{0,80}[.!]?\s*$"
"""A last sentence that asks for a style of answer: "Let's write a Python program."."""

Name = Annotated[str, Field(pattern=f"^{NAME}$")]


def _budget(written: Any) -> str:
    return str(parse_budget(written))


class SplitSettings(Settings):
    """The rows of the pool's files cut into parts by question: all rows that ask the same thing land in one part."""

    heldout: str = Field(description="Rows, or a share of those read, that no model is trained on.")
    pretrain: str | None = Field(None, description="Rows that proxy and target are first trained on.")
    pool: str | None = Field(None, description="Rows to choose from; all that are left if not given.")
    seed: int = Field(0, ge=0, description="Of the split.")
    style: str = Field(LAST_REQUEST, description="Regular expression of what is no part of a question.")

    @field_validator("heldout", "pretrain", "pool", mode="before")
    @classmethod
    def _in_canonical_text(cls, written: Any) -> Any:
        budget = None if written is None else parse_budget(written)
        if budget is not None and budget.kind == "tokens":
            raise SettingsError(f"split: {budget} is in tokens; say rows (2000) or a share of those read (10%)")
        return None if budget is None else str(budget)

    @field_validator("style")
    @classmethod
    def _an_expression(cls, style: str) -> str:
        try:
            re.compile(style)
        except re.error as error:
            raise SettingsError(f"split.style {shown(style)}: {error}") from None
        return style


class OwnProxySettings(ProxySettings):
    """A proxy of the experiment."""

    pretrained: bool = Field(
        True, description="Train a `builtin` one on split.pretrain first, if there is one; else from fresh weights."
    )

    @model_validator(mode="after")
    def _others_are_as_they_are(self) -> OwnProxySettings:
        if not self.pretrained and self.model != BUILTIN:
            raise SettingsError(f"proxies: `pretrained: false` is for `builtin` alone, not {shown(self.model)}")
        return self

    def plain(self) -> ProxySettings:
        """What its runs say of it."""
        return ProxySettings.model_validate(self.model_dump(exclude={"pretrained"}))


class MethodSettings(Settings):
    """One way to choose. Its label names its cells; `full` trains on all rows."""

    method: str = Field(description="Selection method; `s2l methods` lists them.")
    label: Name = Field(description="Name in tables; the method's own if not given.")
    set: dict[str, Any] = Field({}, description="The method's own settings.")
    balance: Literal["none", "source"] = Field("none", description="Share the budget over sources first.")
    proxy: Name | None = Field(None, description="One of `proxies`; the first if not given.")
    checkpoints: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        None, description="Which of the recorded checkpoints it sees, from 1; all if not given.", min_length=1
    )

    @model_validator(mode="before")
    @classmethod
    def _from_a_word(cls, value: Any) -> Any:
        value = {"method": value} if isinstance(value, str) else value
        return {"label": value["method"], **value} if isinstance(value, Mapping) and "method" in value else value


class BlockSettings(Settings):
    """Methods × budgets, with one way of matching the training to that on all rows."""

    matching: Matching = Field("epochs", description="epochs: as many epochs; steps: as many optimizer steps.")
    budgets: tuple[str, ...] = Field(description="Rows (330) or shares of the pool's rows (11%).", min_length=1)
    methods: tuple[Name, ...] | None = Field(None, description="Labels; all methods if not given.")

    @field_validator("budgets", mode="before")
    @classmethod
    def _in_canonical_text(cls, budgets: Any) -> Any:
        return tuple(map(_budget, budgets)) if isinstance(budgets, list | tuple) else budgets


class PrimarySettings(Settings):
    """The one comparison that was named beforehand; all others are exploratory."""

    outcome: str = Field(MACRO, description="Held-out loss per response token, mean over sources.")
    method: Name = Field("s2l", description="Label of the method.")
    budget: str = Field("11%", description="Budget.")
    matching: Matching = Field("epochs", description="Matching.")
    target: Name | None = Field(None, description="One of `targets`; the first if not given.")

    @field_validator("budget", mode="before")
    @classmethod
    def _in_canonical_text(cls, budget: Any) -> Any:
        return _budget(budget)


class ExperimentSettings(Settings):
    """Everything that determines an experiment."""

    title: str = Field(description="Heading of the report.")
    note: str = Field("", description="What a reader must know before the figures.")
    pool: PoolSettings = Field(description="The rows to choose from, or to split.")
    split: SplitSettings | None = Field(None, description="Cut the pool's files into parts by question.")
    heldout: Paths = Field((), description="Files of held-out rows, read as the pool's; or split.")
    tokens: TokenSettings = TokenSettings()
    proxies: dict[Name, OwnProxySettings] = Field({}, description="The small models, by name.")
    recorded: dict[Name, tuple[str, ...]] = Field(
        {}, description="Finished runs of the pool, by a name to use as a proxy's: one for each proxy seed."
    )
    targets: dict[Name, TrainSettings] = Field(
        description="What is fine-tuned and how, by name; `seed`, `match` and `pool_rows` are the cell's.", min_length=1
    )
    pretrain: TrainSettings | None = Field(None, description="First training of the built-in models on split.pretrain.")
    methods: tuple[MethodSettings, ...] = Field(description="Ways to choose.", min_length=1)
    blocks: tuple[BlockSettings, ...] = Field(description="What is crossed with what.", min_length=1)
    seeds: int = Field(5, ge=1, le=1000, description="Seeds 0, 1, …: of training, of the draw, and of the pairs.")
    proxy_seeds: int = Field(2, ge=2, le=1000, description="Proxies trained; seed s draws from number s modulo this.")
    evaluate: EvaluateSettings = Field(EvaluateSettings(), description="Test sets and how they are answered.")
    answer_at: tuple[str, ...] | None = Field(
        None, description="Budgets whose models answer the test sets; all, and full, if not given."
    )
    primary: PrimarySettings = PrimarySettings()
    keep_models: bool = Field(False, description="Keep every fine-tuned model.")

    @field_validator("answer_at", mode="before")
    @classmethod
    def _in_canonical_text(cls, budgets: Any) -> Any:
        return tuple(map(_budget, budgets)) if isinstance(budgets, list | tuple) else budgets

    @model_validator(mode="after")
    def _names_fit(self) -> ExperimentSettings:
        labels = [method.label for method in self.methods]
        if len(set(labels)) < len(labels):
            twice = next(label for label in labels if labels.count(label) > 1)
            raise SettingsError(f"methods: two are called {shown(twice)}; give one a label")
        if not self.proxies and not self.recorded:
            raise SettingsError("proxies: name a small model, or finished runs of the pool under `recorded`")
        for name, runs in self.recorded.items():
            if name in self.proxies or len(runs) != min(self.seeds, self.proxy_seeds):
                wanted = f"a name of its own and {min(self.seeds, self.proxy_seeds)} runs, one for each proxy seed"
                raise SettingsError(f"recorded.{name}: needs {wanted}")
        for method in self.methods:
            if (method.label == FULL) != (method.method == FULL) or (method.label == RANDOM != method.method):
                raise SettingsError(f"methods: {shown(method.label)} cannot be the label of {shown(method.method)}")
            if method.label == RANDOM and (method.set or method.balance != "none"):
                raise SettingsError("methods: random, which all are compared with, is plain; give this one a label")
            name = method.proxy or self.first_proxy
            _one_of(f"methods.{method.label}: proxy", name, (*self.proxies, *self.recorded))
            if name in self.proxies and max(method.checkpoints or (1,)) > self.proxies[name].checkpoints:
                raise SettingsError(
                    f"methods.{method.label}: checkpoints: the proxy records {self.proxies[name].checkpoints}"
                )
        for label in (label for block in self.blocks for label in block.methods or ()):
            _one_of("blocks: method", label, labels)
        for name, target in self.targets.items():
            if target.model is None:
                raise SettingsError(f"targets.{name}: name the model (a hub id, a folder, or builtin)")
            if (target.pool_rows, target.seed, target.match) != (None, 0, "epochs"):
                raise SettingsError(f"targets.{name}: `seed`, `match` and `pool_rows` are the cell's; leave them out")
        return self

    @model_validator(mode="after")
    def _targets_read_alike(self) -> ExperimentSettings:
        """What a target takes from the run that a method draws from must be the same for all methods."""
        used = list(dict.fromkeys(method.proxy or self.first_proxy for method in self.methods))
        kinds = {name: self.proxies.get(name) for name in used}
        vocabularies = {proxy and (proxy.model, proxy.revision, proxy.vocabulary) for proxy in kinds.values()}
        from_scratch = {proxy and proxy.model == BUILTIN for proxy in kinds.values()}
        for name, target in self.targets.items():
            own = target.model != BUILTIN or self.pretrain is not None
            if not own and self.tokens.tokenizer is None and len(vocabularies) > 1:
                what, how = "tokens", "name one `tokenizer` under `tokens`, or pre-train it (`pretrain`)"
            elif own and {target.template, self.tokens.template} == {"auto"} and len(from_scratch) > 1:
                what, how = "template", "name the target's `template`"
            else:
                continue
            raise SettingsError(
                f"targets.{name}: takes its {what} from a method's proxy, and {', '.join(used)} differ; {how}"
            )
        return self

    @model_validator(mode="after")
    def _primary_fits(self) -> ExperimentSettings:
        primary, labels = self.primary, [method.label for method in self.methods]
        _one_of("primary.target", primary.target or self.first_target, self.targets)
        if primary.method in {RANDOM, FULL}:
            raise SettingsError(f"primary.method {shown(primary.method)}: name what is compared with random and full")
        for label in (primary.method, RANDOM):
            _one_of("primary: method", label, labels)
            if not any(self._covers(block, label) for block in self.blocks):
                where = f"at {primary.budget}, matching {primary.matching}"
                raise SettingsError(f"primary: no block trains {shown(label)} {where}")
        answered = primary.outcome.startswith(("tasks", "summaries"))
        if self.answer_at is not None and answered and primary.budget not in self.answer_at:
            raise SettingsError(f"primary: answer_at leaves out its budget, {primary.budget}")
        _one_of("primary.outcome", primary.outcome, self._outcomes())
        return self

    @model_validator(mode="after")
    def _data_fit(self) -> ExperimentSettings:
        if self.evaluate.heldout:
            raise SettingsError("evaluate.heldout: held-out rows are named once, by `heldout` or `split`")
        if self.split is not None and self.heldout:
            raise SettingsError("held-out rows: say either `heldout` (files) or `split` (cut by question), not both")
        if (self.pretrain is None) != (self.split is None or self.split.pretrain is None):
            raise SettingsError("pretrain: needs both `pretrain` (how) and `split.pretrain` (on how many rows)")
        return self

    def _outcomes(self) -> list[str]:
        """What will be measured of every model that answers."""
        tasks = [f"tasks.{task}" for task in self.evaluate.tasks]
        heldout = HELDOUT if self.heldout or self.split else ()
        summaries = SUMMARIES[: 3 if self.evaluate.bertscore else 2] if self.evaluate.summaries else ()
        measured = [*heldout, *(["tasks.mean"] if tasks else []), *tasks, *summaries]
        if not measured:
            raise SettingsError("nothing is measured: name held-out rows (`heldout` or `split`), or `evaluate.tasks`")
        return measured

    def _covers(self, block: BlockSettings, label: str) -> bool:
        primary = self.primary
        named = block.methods is None or label in block.methods
        return named and block.matching == primary.matching and primary.budget in block.budgets

    @property
    def first_proxy(self) -> str:
        """Name of the proxy that is meant where none is named."""
        return next(iter((*self.proxies, *self.recorded)))

    @property
    def first_target(self) -> str:
        """Name of the target that is meant where none is named."""
        return next(iter(self.targets))

    def method(self, label: str) -> MethodSettings:
        """The method of that label."""
        return next(method for method in self.methods if method.label == label)


def _one_of(what: str, name: str, names: Iterable[str]) -> None:
    if name not in names:
        raise SettingsError(f"{what} {shown(name)} is not in the recipe; there are: {', '.join(names)}")


def parsed(values: Mapping[str, Any]) -> ExperimentSettings:
    """The recipe, checked, the methods' own settings too; SettingsError is one line that says what would be right."""
    from s2l.selection.methods import get

    try:
        settings = ExperimentSettings.model_validate(dict(values))
    except ValidationError as error:
        raise SettingsError(_explained(error)) from None
    for method in settings.methods:
        get(method.method).parse(method.set).require()
    return _settled(settings)


def _settled(settings: ExperimentSettings) -> ExperimentSettings:
    """With names where the first one is meant: another order of names must not mean another experiment."""
    methods = tuple(
        method.model_copy(update={"proxy": method.proxy or settings.first_proxy}) for method in settings.methods
    )
    primary = settings.primary.model_copy(update={"target": settings.primary.target or settings.first_target})
    return settings.model_copy(update={"methods": methods, "primary": primary})


def _explained(error: ValidationError) -> str:
    first = error.errors()[0]
    if isinstance(mistake := first.get("ctx", {}).get("error"), S2LError):
        return str(mistake)
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"recipe: {path} is missing"
    if first["type"] == "extra_forbidden":
        return f"recipe: no setting {shown(path)}; docs/experiments.md lists them"
    return f"recipe: {path} {shown(first['input'])}: {first['msg']}"
