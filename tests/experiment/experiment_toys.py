"""A pool of 300 rows, every question in two styles; a recipe for it; and stages that need no training."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from s2l import pipeline
from s2l.errors import NumericsError
from s2l.experiment.recipe import ExperimentSettings, parsed
from s2l.experiment.stages import Source, Stages
from s2l.files import read_json, write_json
from toy_runs import SMALL, write_jsonl

REQUESTS = ("", " Let's write a Python program.")


def question_rows(questions: int = 150) -> list[dict[str, Any]]:
    """Each question twice: plain, and with a last request for a program, other spaces and other numbers' style."""
    rows = []
    for i in range(questions):
        a, b = i, 7 * i % 50
        asked = (f"What is {a} plus {b}?", f"Is {a} more than {b}?", f"Say {a} and {b}.")[i % 3]
        said = (f"{a + b}", "yes" if a > b else "no", f"{a}, {b}")[i % 3]
        source = ("plus", "more", "say")[i % 3]
        rows.append({"instruction": asked, "output": said, "source": source})
        rows.append(
            {"instruction": asked.replace("?", " ?") + REQUESTS[1], "output": f"print({said!r})", "source": "code"}
        )
    return rows


def recipe_of(pool: Path, **changes: Any) -> dict[str, Any]:
    """Two methods and full, 20 % and 50 %, two seeds, two proxies; split by question, everything as small as can be."""
    values: dict[str, Any] = {
        "title": "Toy",
        "pool": {"paths": [str(pool)]},
        "split": {"heldout": "10%"},
        "tokens": {"max_length": 64},
        "proxies": {"tiny": {"model": "builtin", "epochs": 1, **SMALL}},
        "targets": {
            "tiny": {"model": "builtin", "layers": 1, "width": 32, "epochs": 1, "max_length": 64, "threads": 1}
        },
        "methods": [{"method": "s2l", "set": {"clusters": 5}}, "random", "full"],
        "blocks": [{"budgets": ["20%", "50%"]}],
        "seeds": 2,
        "primary": {"budget": "20%"},
        "evaluate": {"threads": 1},
    }
    return {**values, **changes}


def settings_of(pool: Path, **changes: Any) -> ExperimentSettings:
    """The same, checked."""
    return parsed(recipe_of(pool, **changes))


def write_pool(folder: Path) -> Path:
    """The rows as a file."""
    return write_jsonl(folder / "pool.jsonl", question_rows())


class Counted:
    """A progress that counts the units of every stage: `done` of `stages`, both by name and unit."""

    def __init__(self) -> None:
        self.stages: dict[tuple[str, str], int | None] = {}
        self.done: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def stage(self, name: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
        """Count what it is told."""
        self.stages[name, unit] = total

        def advance(units: int) -> None:
            self.done[name, unit] += units

        yield advance

    def note(self, line: str) -> None:
        """Nothing to count."""


class Made:
    """Stages that draw in earnest, and make up the rest from the subset's digest and the seed; `calls` lists them."""

    def __init__(self, stop_at: str | None = None) -> None:
        self.calls: list[str] = []
        self.stop_at = stop_at
        self.stages = Stages(draw=self.draw, train=self.train, evaluate=self.evaluate)

    def said(self, call: str) -> None:
        """Remember the call; end there if told to."""
        self.calls.append(call)
        if call == self.stop_at:
            raise KeyboardInterrupt

    def draw(self, run: Path, asked: Any, seed: int, progress: Any) -> Mapping[str, Any]:
        """The real draw."""
        self.said(f"draw {asked.method} {seed} from {run.name}")
        return pipeline.draw(run, asked, seed, progress)

    def train(self, source: Source, settings: Any, out: Path, progress: Any) -> Mapping[str, Any]:
        """A model that is a file, and a record of 100 rows."""
        what = "files" if source.run is None else source.subset or "all rows"
        self.said(f"train {what} {settings.match} {settings.seed}")
        write_json(out / "model" / "made.json", {"rows": what, "seed": settings.seed})
        rows = 270 if source.subset is None else 54 if "20pct" in source.subset else 135
        steps = 27 if settings.match == "steps" else rows // 10
        return {
            "rows": rows,
            "steps": steps,
            "epochs": 1.0,
            "tokens_seen": 10 * rows,
            "seconds": 2.0,
            "flops": 1e6 * rows,
        }

    def evaluate(self, model: Path, settings: Any, out: Path | None, progress: Any, reading: Any) -> Mapping[str, Any]:
        """A loss that falls with the length of what was trained on, and with the seed."""
        made = read_json(model / "made.json")
        self.said(f"evaluate {made['rows']} {made['seed']}")
        loss = 2.0 - 0.01 * len(made["rows"]) + 0.1 * made["seed"]
        return {"heldout": {"macro": loss, "loss_per_token": loss / 2, "by_source": {}}, "tasks": {}}


class Diverging(Made):
    """The same, but that the loss of S2L's rows is not finite with seed 1."""

    def train(self, source: Source, settings: Any, out: Path, progress: Any) -> Mapping[str, Any]:
        """A NumericsError there."""
        if settings.seed == 1 and "s2l" in (source.subset or ""):
            raise NumericsError("the loss of step 3 is nan")
        return super().train(source, settings, out, progress)
