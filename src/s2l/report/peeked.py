"""How a pool is read, in the terminal: what it is, what is left out, and rows with the tokens that count marked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from s2l.errors import printable
from s2l.report.rows import facts, pieces, title

MOST_SOURCES = 12


def print_peek(found: Mapping[str, Any], console: Console) -> None:
    """Print what `look.peek` found."""
    parts: list[RenderableType] = [_pool(found), *_excluded(found)]
    if found["examples"]:
        parts.append(Text("\n▌ counts in the loss   ✂ is cut off   no mark: read, not counted"))
    for example in found["examples"]:
        parts += _example(example, found["max_length"])
    console.print(Group(*parts))


def _pool(found: Mapping[str, Any]) -> RenderableType:
    tokens = found["tokens"]
    told = {
        "pool": f"{', '.join(found['pool'])} ({found['container']}), {found['rows']:,} rows",
        "read as": "; ".join(found["notices"]),
        "sources": _sources(found),
        "template": found["template"],
        "tokenizer": f"{found['tokenizer']} ({found['vocabulary']:,} entries)",
    }
    sample = "" if tokens["looked_at"] == found["rows"] else f" (of a sample of {tokens['looked_at']:,} rows; --all)"
    share = tokens["counted"] / tokens["tokens"]
    told["tokens"] = f"{tokens['tokens']:,}, of them {tokens['counted']:,} ({share:.0%}) count{sample}"
    told["length"] = (
        f"{tokens['median_length']:,} in the middle, at most {tokens['longest']:,}; {tokens['cut']:,} rows are longer "
        f"than {found['max_length']:,} tokens and are cut there"
    )
    return facts(told)


def _sources(found: Mapping[str, Any]) -> str:
    sources = found["sources"]
    listed = ", ".join(f"{source['source']} {source['rows']:,}" for source in sources[:MOST_SOURCES])
    left = len(sources) - MOST_SOURCES
    return listed + (f" and {left:,} more" if left > 0 else "")


def _excluded(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    if not found["excluded"]:
        yield facts({"excluded": "none"})
        return
    yield title("excluded")
    for why in found["excluded"]:
        yield Text(printable(f"  {why['rows']:,} of {why['of']:,}: {why['reason']}, the first at {why['first']}"))
    if found["would_stop_a_run"]:
        yield Text("  malformed rows stop s2l run; mend them, or leave them out: --bad-rows exclude", style="bold red")


def _example(example: Mapping[str, Any], max_length: int) -> Iterator[RenderableType]:
    yield title(f"{example['place']}  {example['source']}  ({example['why']})  {example['id']}")
    if example["tokens"] is not None:
        cut = f", {example['tokens'] - example['kept']:,} are cut off" if example["tokens"] > max_length else ""
        yield Text(f"  {example['tokens']:,} tokens, {example['counted']:,} of them count{cut}")
    if example["reason"] is not None:
        yield Text(printable(f"  excluded: {example['reason']}"), style="bold")
    if example["pieces"]:
        yield pieces(example["pieces"])
