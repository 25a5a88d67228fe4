"""What was gathered → one HTML file that needs nothing else and allows nothing else: no network, no foreign code."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from s2l.errors import printable
from s2l.report.page.words import name_of
from s2l.report.screen import duration
from s2l.report.verification import LIMITS, sentences_of

HERE = Path(__file__).parent
SCRIPTS = ("chart.js", "curves.js", "points.js", "bars.js", "rows.js", "page.js")
ESCAPED = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}
DRAWN = ("curves", "plane", "changes", "examples")
"""What the page's script draws; the rest is in the HTML itself."""


def page(found: Mapping[str, Any]) -> str:
    """The HTML of what `gather` found.

    Text of the user's is escaped by the template, or lies in a JSON block that no browser runs and is put into the page
    as text. The policy allows this page's own style and script, by their digests, and nothing else.
    """
    style, script = asset("style.css"), "(() => {\n" + "\n".join(map(asset, SCRIPTS)) + "})();\n"
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "count": "{:,}".format,
        "percent": percent,
        "name": name_of,
        "line": printable,
        "duration": duration,
    }
    return environment.get_template("page.html.j2").render(
        found,
        policy=policy(style, script),
        style=Markup(style),
        script=Markup(script),
        data=Markup(as_data({name: found[name] for name in DRAWN})),
        sentences_of=sentences_of,
        limits=LIMITS,
    )


def asset(name: str) -> str:
    """A file of ours that goes into the page as it is."""
    return (HERE / "assets" / name).read_text(encoding="utf-8")


def policy(style: str, script: str) -> str:
    """The content security policy: neither network, objects, frames, forms nor eval; one style and one script."""
    return (
        f"default-src 'none'; script-src '{digest(script)}'; style-src '{digest(style)}'; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def digest(text: str) -> str:
    """As a policy names an inline block."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def as_data(value: Any) -> str:
    """JSON that nothing in it can end or change the element it stands in."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(ESCAPED)


def percent(share: float, digits: int = 1) -> str:
    """A share for a person."""
    return f"{100 * share:.{digits}f} %"
