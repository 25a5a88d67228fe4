"""The documents say what is there: commands, flags, links, trees, tables, and the example method."""

import ast
import os
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import typer
import yaml

from s2l import errors
from s2l.cli import app
from s2l.data import formats, shapes, templates
from s2l.flags import FLAGS, validated
from s2l.run_folder import RunFolder
from s2l.types import STATISTICS

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "s2l"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
DATED = sorted((ROOT / "docs" / "experiments").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OTHERS = {"--index-url", "--nproc-per-node", "--multi_gpu", "--num_processes"}
PLUGIN = """
def pytest_sessionstart(session):
    from s2l.selection import methods

    methods.__path__.append({folder!r})
"""


def text_of(page):
    return page.read_text(encoding="utf-8")


def blocks(page, language):
    return [code for found, code in BLOCK.findall(text_of(page)) if found == language]


def commands():
    """Every `s2l …` of the documents, in blocks and in spans, without the comment behind it."""
    for page in PAGES:
        lines = [line for code in blocks(page, "bash") for line in code.splitlines()]
        spans = re.findall(r"`([^`\n]+)`", BLOCK.sub("", text_of(page)))
        yield from (shlex.split(line, comments=True) for line in [*lines, *spans] if re.match(r"s2l\s", line))


def anchors(page):
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows_of_tables(page):
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", text_of(page), re.M)
    ]


@pytest.mark.parametrize("page", [*PAGES, *DATED], ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", text_of(page)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page):
    for path in re.findall(r"`((?:src|tests|docs)/[\w./]+|Makefile|constraints\.txt|LICENSE)`", text_of(page)):
        assert (ROOT / path).exists() or path.endswith("/loss_strata.py"), path


def test_every_command_is_one_that_the_command_line_takes():
    group = typer.main.get_command(app)
    seen = 0
    for _, verb, *arguments in commands():
        if verb.startswith("--"):
            assert any(verb in option.opts for option in group.params), verb
            continue
        assert verb in group.commands, verb
        if arguments:
            group.commands[verb].make_context(verb, arguments)
        seen += 1
    assert seen > 15


def test_every_flag_exists():
    group = typer.main.get_command(app)
    known = {option for verb in [group, *group.commands.values()] for p in verb.params for option in p.opts} | OTHERS
    for script in (ROOT / "benchmarks").glob("*.py"):
        known |= set(re.findall(r'add_argument\("(--[\w-]+)"', text_of(script)))
    for page in PAGES:
        for flag in re.findall(r"(?<![\w-])--[a-z][a-z_-]*", text_of(page)):
            assert flag in known, f"{page.name}: {flag}"


def test_recipes_are_settings_and_calls_take_their_arguments():
    for page in PAGES:
        for recipe in blocks(page, "yaml"):
            validated({name: value for name, value in yaml.safe_load(recipe).items() if name != "out"})
        for code in blocks(page, "python"):
            for call in [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]:
                if ast.unparse(call.func) == "s2l.select":
                    given = {keyword.arg.replace("_", "-") for keyword in call.keywords}
                    assert given <= {*FLAGS, "budget", "out", "recipe"}


def test_the_tree_is_the_folders():
    tree = next(code for code in blocks(ROOT / "CONTRIBUTING.md", "text") if code.startswith("src/s2l/"))
    stack, named = [], set()
    for line in tree.splitlines():
        indent = len(line) - len(line.lstrip())
        stack = stack[: indent // 2]
        for name in re.findall(r"[\w/]+(?:\.py|/)(?=\s|$)", line):
            named.add("".join([*stack, name]))
        if line.split()[0].endswith("/"):
            stack.append(line.split()[0])
    for path in named:
        assert (ROOT / path).exists(), path
    folders = {p.parent.relative_to(ROOT) for p in SOURCE.rglob("*.py")}
    assert {str(folder) + "/" for folder in folders} == {
        path for path in named if path.startswith("src") and path[-1] == "/"
    }
    assert {p.name for p in SOURCE.glob("*.py")} - {"__init__.py", "errors.py", "progress.py"} == {
        Path(path).name for path in named if path.endswith(".py")
    }


def test_the_run_folders_files_and_exit_codes_are_those_of_the_code():
    page = ROOT / "docs" / "run-folder.md"
    folder = RunFolder(Path("RUN"))
    for name, member in vars(RunFolder).items():
        if isinstance(member, property):
            assert f"`{getattr(folder, name).name}" in text_of(page), name
    codes = {cls.exit_code for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, Exception)}
    assert {int(row[0]) for row in rows_of_tables(page) if row[0].isdigit()} == codes | {0, 130}


def test_shapes_roles_templates_and_statistics_are_those_of_the_code():
    page = text_of(ROOT / "docs" / "data-formats.md")
    for name in [
        *formats.REQUIRED,
        *formats.PROMPTS,
        *formats.RESPONSES,
        *formats.PARTS,
        *formats.MASKS,
        *shapes.ROLES,
    ]:
        assert f"`{name}`" in page, name
    for preamble in templates.STYLES["alpaca"].preambles:
        assert f"{preamble}\n\n### Instruction:\n{{prompt}}\n\n###" in page
    for name in STATISTICS:
        assert f"| `{name}` |" in text_of(ROOT / "docs" / "concepts.md")


def test_reasons_for_exclusion_are_those_of_the_code():
    code = "".join(text_of(path) for path in (SOURCE / "data").glob("*.py"))
    table = text_of(ROOT / "docs" / "data-formats.md").partition("## Rows that are excluded")[2]
    reasons = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert len(reasons) > 8
    for reason in reasons:
        assert reason.removesuffix("…").removesuffix("FILE:LINE").rstrip() in code, reason


def test_decisions_are_dated_and_the_newest_comes_first():
    dates = re.findall(r"^## (\d{4}-\d\d-\d\d)", text_of(ROOT / "docs" / "decisions.md"), re.MULTILINE)
    assert dates
    assert all(first >= second for first, second in pairwise(dates))


def test_the_example_method_keeps_the_contract(tmp_path):
    (code,) = blocks(ROOT / "docs" / "add-a-method.md", "python")
    method = tmp_path / "methods" / "loss_strata.py"
    method.parent.mkdir()
    method.write_text(code)
    (tmp_path / "with_loss_strata.py").write_text(PLUGIN.format(folder=str(method.parent)))
    contract = ROOT / "tests" / "selection" / "test_contract.py"
    options = ["-p", "with_loss_strata", "-p", "no:cacheprovider", "-k", "loss-strata"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(contract)],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 20
    for tool in (["check"], ["format", "--check"]):
        config = ["--config", str(ROOT / "pyproject.toml")]
        subprocess.run([sys.executable, "-m", "ruff", *tool, *config, method], check=True)
