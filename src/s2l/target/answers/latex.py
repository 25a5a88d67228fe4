"""Mathematical text in one way of writing, so that answers which say the same are mostly the same string."""

from __future__ import annotations

import re

DROPPED = ("\\left", "\\right", "\\displaystyle", "\\$", "$", "\\%", "%", "^{\\circ}", "^\\circ", "\\circ")
SPACES = re.compile(r"(?<!\\)\\[,;: ]|\\quad(?![A-Za-z])|[~\n]")
NO_SPACE = re.compile(r",\\!|\{,\}|(?<!\\)\\!")
TEXT = re.compile(r"\\(?:text|mbox|textbf|textrm|mathrm|mathbf|mathit)\s*\{([^{}]*)\}")
UNIT = re.compile(r"\\(?:text|mbox|mathrm)\s*\{(?!\s*[ap]\.?m\b)[^{}]*\}(?:\s*\^\s*(?:\{[0-9]\}|[0-9]))?")
THOUSANDS = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9,])")
NAMED = re.compile(r"^\s*(?:[A-Za-z]|\([A-Za-z](?:,\s*[A-Za-z])+\))\s*(?:=|\\in(?![A-Za-z]))")
SEVERAL = re.compile(r"\s*(?:,\s*)?(?:\\(?:text|mbox)\s*\{\s*(?:and|or)\s*\}|\b(?:and|or)\b)\s*")
PLAINLY = (
    (re.compile(r"√\s*(?:\(([^()]*)\)|([0-9]+))"), r"\\sqrt{\1\2}"),
    (re.compile(r"(?<![A-Za-z\\])pi(?![A-Za-z])"), r"\\pi"),
    (re.compile(r"\*\*"), "^"),
)
TWO_PARTS = re.compile(r"\\frac\s*(\{[^{}]*\}|[0-9A-Za-z])\s*(\{[^{}]*\}|[0-9A-Za-z])")
SHORT_ROOT = re.compile(r"\\sqrt\s*([0-9A-Za-z])")
SLASHED = re.compile(r"(?<![\w}.])(-?)([0-9]+)/([0-9]+)(?![\w{.])")
CHOICE = re.compile(r"\(?([A-Z])\)?")
WORDS = re.compile(r"[A-Za-z :,]{2,}")


def cleaned(text: str) -> str:
    """The text without what is not of its value: spacing, currency, degrees, percent, units, an unknown's name."""
    text = text.strip().removeprefix("\\(").removeprefix("\\[").removesuffix("\\)").removesuffix("\\]")
    text = SEVERAL.sub(", ", NO_SPACE.sub("", text))
    for written, latex in PLAINLY:
        text = written.sub(latex, text)
    for mark in DROPPED:
        text = text.replace(mark, "")
    text = SPACES.sub(" ", text).replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").replace("\\cfrac", "\\frac")
    without = UNIT.sub("", text).strip()
    text = without if re.search(r"[0-9A-Za-z]", without) else TEXT.sub(r"\1", text)
    if not re.search(r"[(\[]", text):  # (1,200) is a pair
        text = THOUSANDS.sub(lambda found: found[0].replace(",", ""), text)
    parts = text.split(",")
    if text.count("=") <= 1:
        text = NAMED.sub("", text)
    elif all(map(NAMED.match, parts)):
        text = ",".join(NAMED.sub("", part) for part in parts)
    return text.strip().rstrip(".").strip()


def squeezed(text: str) -> str:
    """What is compared: `cleaned`, fractions and roots in full, no spaces, words in lower case, a choice's letter."""
    text = cleaned(text)
    for _ in range(3):  # fractions inside fractions
        text = TWO_PARTS.sub(lambda found: f"\\frac{_braced(found[1])}{_braced(found[2])}", text)
    text = SHORT_ROOT.sub(r"\\sqrt{\1}", text)
    text = SLASHED.sub(r"\1\\frac{\2}{\3}", text)
    if choice := CHOICE.fullmatch(text.strip()):
        return choice[1]
    if WORDS.fullmatch(text):
        text = text.casefold()
    text = re.sub(r"\s+", "", text)
    return re.sub(r"(?<![0-9])\.(?=[0-9])", "0.", text)


def math_spans(text: str) -> list[str]:
    """What stands between dollar signs, or between \\( and \\), from the front."""
    found = re.findall(r"\$([^$]+)\$|\\\(([^\n]{1,300}?)\\\)", text.replace("\\$", ""))
    return [dollars or parentheses for dollars, parentheses in found]


def _braced(part: str) -> str:
    return part if part.startswith("{") else f"{{{part}}}"
