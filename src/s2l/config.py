"""Settings: inert values with types, ranges and one sentence each. YAML in, JSON out; imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from s2l.data.url import without_secrets
from s2l.selection.budget import parse_budget

Format = Literal["auto", "instruction", "pair", "messages", "conversations", "text", "tokenized"]
BUILTIN = "builtin"
RECORDED = "recorded"
"""The proxy of a run that was recorded during a training of one's own: its weights are not kept."""
SEEN = "seen"
"""The same, of losses seen in the training's own forward passes."""
WITHOUT_WEIGHTS = frozenset({RECORDED, SEEN})
Paths = Annotated[tuple[str, ...], BeforeValidator(without_secrets)]
"""Files or URLs of rows; SettingsError for a URL with a secret in it."""


class Settings(BaseModel):
    """Base of all settings: frozen, and an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    def require(self) -> None:
        """Raise SettingsError where what is needed is not there; asked before anything is trained."""


class PoolSettings(Settings):
    """Where the rows are and how to read them."""

    paths: Paths = Field(description="Files or their URLs, a saved datasets folder, or a hub id.", min_length=1)
    format: Format = Field("auto", description="Shape of a row; recognised by its columns if auto.")
    columns: dict[str, str] = Field({}, description="Column of each part: prompt=…, response=…, system=…, …")
    source_column: str | None = Field(None, description="Column that names a row's source (default: `source`).")
    where: dict[str, str] = Field({}, description="Read only rows whose column has this value: label=true.")
    config: str | None = Field(None, description="Configuration of a hub dataset.")
    split: str = Field("train", description="Split of a hub or saved dataset.")
    revision: str | None = Field(None, description="Revision of a hub dataset.")
    repeats: Literal["keep", "drop"] = Field("keep", description="Exact repeats: keep (the paper) or one of each.")
    bad_rows: Literal["stop", "exclude"] = Field(
        "stop", description="Malformed rows: stop with one line, or exclude and list them."
    )


class TokenSettings(Settings):
    """How a row becomes tokens."""

    template: Literal["auto", "alpaca", "short", "chat"] = Field(
        "auto", description="auto: Alpaca for instructions, the model's chat template for conversations."
    )
    max_length: int = Field(512, ge=2, description="Tokens a row may have; the rest is cut off on the right.")
    tokenizer: str | None = Field(
        None,
        description="Tokenizer of already tokenized rows; or one for the built-in proxy to use as it is.",
    )


class ProxySettings(Settings):
    """The small model and its training; None takes the paper's value, or the built-in proxy's own."""

    model: str = Field("EleutherAI/pythia-70m-deduped", description="Hub id, local folder, or `builtin`.")
    revision: str | None = Field(None, description="Revision of the hub model.")
    checkpoints: int = Field(12, ge=1, le=1000, description="Checkpoints at equal fractions of training.")
    initial_checkpoint: bool = Field(False, description="Also record the losses before training, as step 0.")
    epochs: Annotated[float, Field(gt=0, le=1000)] | None = Field(None, description="Passes over the pool.")
    learning_rate: Annotated[float, Field(gt=0)] | None = Field(None, description="Peak of the cosine schedule.")
    batch_size: Annotated[int, Field(ge=1)] | None = Field(None, description="Rows in a global batch.")
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(0.03, description="Share of the steps that warm up.")
    weight_decay: Annotated[float, Field(ge=0)] | None = Field(None, description="AdamW's weight decay.")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="Of matrix products, in training and scoring."
    )
    layers: Annotated[int, Field(ge=1, le=48)] = Field(2, description="Layers of the built-in proxy.")
    width: Annotated[int, Field(ge=32, multiple_of=32)] = Field(96, description="Width of the built-in proxy.")
    vocabulary: Annotated[int, Field(ge=300, le=65536)] = Field(4096, description="BPE of the built-in proxy.")
    device: str = Field("auto", description="auto, cpu, cuda, mps; choose a GPU by CUDA_VISIBLE_DEVICES.")
    threads: Annotated[int, Field(ge=1)] | None = Field(None, description="CPU threads; all if not given.")
    processes: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Processes that record; one for each GPU, and 1 on a CPU, if not given."
    )
    batch_tokens: Annotated[int, Field(ge=16)] | None = Field(
        None,
        description="Tokens in one pass of training; 2048 on a CPU, 16384 on a GPU, if not given. "
        "Scoring takes two and four times as many.",
    )


class SelectSettings(Settings):
    """Which rows to draw from recorded trajectories."""

    method: str = Field("s2l", description="Selection method; `s2l methods` lists them.")
    budgets: tuple[str, ...] = Field(
        description="Rows (330), a share of the rows read (11%), or tokens (2M-tokens).", min_length=1
    )
    options: dict[str, Any] = Field({}, description="The method's own settings.")
    with_random: bool = Field(False, description="Also draw the random twin of each subset.")
    keep: str | None = Field(None, description="File of ids that must be in, one a line.")
    balance: Literal["none", "source"] = Field("none", description="Share the budget over sources first.")

    @field_validator("budgets", mode="before")
    @classmethod
    def _in_canonical_text(cls, budgets: Any) -> Any:
        """`0.11` from Python, `11%` and `11.0%` are one budget; SettingsError for what is none."""
        return tuple(str(parse_budget(budget)) for budget in budgets) if isinstance(budgets, list | tuple) else budgets


class RunSettings(Settings):
    """Everything that determines a run: a recipe."""

    pool: PoolSettings
    tokens: TokenSettings = TokenSettings()
    proxy: ProxySettings = ProxySettings()
    select: SelectSettings
    seed: int = Field(0, ge=0, lt=2**32, description="Of training order, clustering and drawing.")
    recorded: tuple[str, ...] | None = Field(
        None, description="Checkpoints of another training, where `s2l record` took the losses from them."
    )
    added: tuple[int, ...] | None = Field(
        None, description="How many of the last files came with each `s2l record RUN --add`."
    )
    examples: bool = Field(
        True, description="Show rows in the run's page and in messages; without, no text of a row stands there."
    )
