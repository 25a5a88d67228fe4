"""A mistake is one line: what, where, the value, what to do; with its exit code, no traceback, and nothing lost."""

from pathlib import Path

import pytest

from toy_runs import BROKEN, DATA, FLAGS, FOLDER, GOOD, MACHINE, SETTINGS, files_of, lines, run_of, s2l, write_jsonl

NASTY = "\x1b]0;owned\x07\x1b[31m\u202e\u2028\r\nerror: no"


POOLS: dict[str, tuple[bytes, str]] = {
    "malformed JSON in the middle": (
        lines(GOOD[:4]) + BROKEN + lines(GOOD[4:]),
        "{pool}:5: malformed JSON (Unterminated string starting at, character 32) near",
    ),
    "bytes that are not UTF-8": (
        lines(GOOD[:2]) + b'{"instruction": "\xff", "output": "b"}\n',
        "{pool}:3: not UTF-8 at byte 18",
    ),
    "no file content": (b"", "{pool}: the file is empty"),
    "only blank lines": (b"\n\n", "{pool}: the file holds no rows"),
    "a missing column": (
        lines([{"instruction": "a"}, {"instruction": "b"}]),
        "{pool}: no known shape in the columns instruction; wanted one of",
    ),
    "mixed shapes": (
        lines([*GOOD * 13, {"messages": [{"role": "user", "content": "hi"}]}]),
        "{pool}:105: the row has no 'instruction' or 'output'; it has: messages",
    ),
    "two shapes at once": (
        lines([{"text": "a", "messages": []}]),
        "{pool}: the rows fit several formats: messages, text; choose one with --format",
    ),
    "all rows empty": (
        lines([{"instruction": "a", "output": ""}] * 3),
        "no row of the pool can be scored: 3 of 3: empty response (first: {pool}:1)",
    ),
    "a number that is no text": (b'{"instruction": "a", "output": NaN}\n', "{pool}:1: response is no text: 'nan'"),
}


@pytest.mark.parametrize("case", POOLS)
def test_a_pool_that_cannot_be_read_is_one_line_with_file_and_row(case: str, tmp_path: Path) -> None:
    content, message = POOLS[case]
    pool = tmp_path / "pool.jsonl"
    pool.write_bytes(content)
    outcome = run_of(pool, tmp_path / "run")
    assert outcome.code == DATA
    assert message.format(pool=pool) in outcome.error
    assert outcome.out == ""
    assert pool.read_bytes() == content
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_a_value_is_cut_at_60_characters(tmp_path: Path) -> None:
    pool = write_jsonl(tmp_path / "pool.jsonl", [{"instruction": ["x" * 500] * 3, "output": "a"}])
    error = run_of(pool, tmp_path / "run").error
    assert "x" * 50 in error
    assert "x" * 61 not in error
    assert "…" in error


def test_a_mended_pool_goes_on_in_the_same_folder(tmp_path: Path) -> None:
    pool = tmp_path / "pool.jsonl"
    pool.write_bytes(BROKEN + lines(GOOD))
    assert run_of(pool, tmp_path / "run").code == DATA
    write_jsonl(pool, GOOD)
    assert run_of(pool, tmp_path / "run").code == 0


def test_hostile_names_and_values_never_reach_the_terminal_raw(tmp_path: Path) -> None:
    rows = [{**row, "source": NASTY + str(i % 2)} for i, row in enumerate(GOOD)]
    pool = write_jsonl(tmp_path / f"{NASTY.replace('/', '')}.jsonl", rows)
    bad = tmp_path / "bad\x1b[2J\u202e.jsonl"
    bad.write_bytes(lines(GOOD) + NASTY.replace("\n", "").encode() + b"\n")
    outcomes = [
        run_of(pool, tmp_path / f"run{NASTY}"),
        run_of(bad, tmp_path / "bad"),
        run_of(tmp_path / NASTY, tmp_path / "none"),
        run_of(pool, tmp_path / "where", "--where", f"{NASTY}={NASTY}"),
        run_of(pool, tmp_path / "columns", "--columns", f"prompt={NASTY}"),
        run_of(pool, tmp_path / "method", "--method", NASTY),
        run_of(pool, tmp_path / "set", "--set", f"{NASTY}=1"),
        run_of(pool, tmp_path / "proxy", "--proxy", f"./{NASTY}"),
        run_of(pool, tmp_path / "flag", f"--{NASTY}"),
        s2l(NASTY),
        s2l("select", tmp_path / NASTY, "--budget", NASTY),
    ]
    assert outcomes[0].code == 0, outcomes[0].err
    for outcome in outcomes[1:]:
        assert outcome.code in {SETTINGS, DATA, FOLDER}, outcome
        assert outcome.error
    for outcome in outcomes:
        text = (outcome.out + outcome.err).replace("\n", "")
        assert text.isprintable(), ascii(text)


CHOICES: dict[str, tuple[tuple[str, ...], str]] = {
    "no row": (("--budget", "0"), "budget '0' chooses nothing"),
    "more rows than can be scored": (
        ("--budget", "149"),
        "budget 149 asks for 149 rows (150 rows read, 2 of them excluded): ask for at most 148",
    ),
    "above 100 %": (("--budget", "101%"), "budget '101%' is above 100%"),
    "no number": (("--budget", "many"), "budget 'many' cannot be read: write rows (330, 30k), a share (11%)"),
    "more tokens than there are": (("--budget", "1M-tokens"), "budget 1M-tokens is above the"),
    "too many clusters": (
        ("--budget", "5", "--set", "clusters=149"),
        "149 clusters cannot be made of",
    ),
    "an unknown method": (
        ("--budget", "5", "--method", "s3l"),
        "no selection method 's3l'; there are: aum, balanced-random, ",
    ),
    "an unknown setting of the method": (
        ("--budget", "5", "--set", "k=3"),
        "method s2l has no setting 'k'; there are: clusters,",
    ),
    "a wrong value of the method's setting": (
        ("--budget", "5", "--set", "representation=cosine"),
        "method s2l: representation='cosine': Input should be 'raw'",
    ),
    "a setting without value": (("--budget", "5", "--set", "clusters"), "--set 'clusters': write name=value"),
    "a wrong choice": (
        ("--budget", "5", "--balance", "evenly"),
        "--balance 'evenly': Input should be 'none' or 'source'",
    ),
    "a wrong seed": (("--budget", "5", "--seed", "-1"), "--seed '-1': "),
    "no file of ids": (("--budget", "5", "--keep", "no-such-file"), "--keep no-such-file: No such file or directory"),
    "no budget": ((), "say how much: --budget 11%"),
    "an unknown flag": (("--bugdet", "5"), "No such option: --bugdet"),
    "a flag without its value": (("--budget",), "Option '--budget' requires an argument."),
}


@pytest.mark.parametrize("case", CHOICES)
def test_a_choice_that_cannot_be_is_one_line_and_changes_nothing(case: str, toy_run: Path) -> None:
    words, message = CHOICES[case]
    before = files_of(toy_run)
    outcome = s2l("select", toy_run, *words)
    assert outcome.code == SETTINGS
    assert message in outcome.error
    assert {**files_of(toy_run), "seconds.json": ""} == {**before, "seconds.json": ""}


RUNS: dict[str, tuple[tuple[str, ...], str]] = {
    "no folder": ((), "--out FOLDER: say where the run and its subsets go"),
    "a wrong choice": (("--repeats", "maybe"), "--repeats 'maybe': Input should be 'keep' or 'drop'"),
    "a wrong number": (("--epochs", "none"), "--epochs 'none': Input should be a valid number"),
    "no finite number": (("--learning-rate", "inf"), "--learning-rate 'inf': Input should be a finite number"),
    "an unknown device": (
        ("--proxy", "builtin", "--out", "OUT", "--device", "tpu"),
        "no device 'tpu'; there are: auto, cpu",
    ),
    "columns without names": (("--columns", "prompt"), "--columns 'prompt': write name=value"),
    "an unknown part": (("--columns", "question=q", "--out", "OUT"), "--columns 'question': no such part of a row"),
    "no folder of a proxy": (("--proxy", "./nowhere", "--out", "OUT"), "'./nowhere': no such folder; give the path"),
    "already tokenized with a template": (
        ("--template", "latin"),
        "--template 'latin': Input should be 'auto', 'alpaca'",
    ),
}


@pytest.mark.parametrize("case", RUNS)
def test_a_setting_that_cannot_be_is_one_line_and_names_its_flag(case: str, toy_pool: Path, tmp_path: Path) -> None:
    words, message = RUNS[case]
    outcome = s2l("run", toy_pool, "--budget", "5", *(tmp_path / "run" if word == "OUT" else word for word in words))
    assert outcome.code == SETTINGS
    assert message in outcome.error


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("pool:\n  paths: [a.jsonl\nselect: {}\n", "recipe.yaml:3: not valid YAML"),
        ("pool: {paths: [a.jsonl]}\nproxy: {wdith: 64}\nselect: {budgets: [5]}\n", "no setting 'proxy.wdith'"),
        (
            "pool: {paths: [a.jsonl]}\nproxy: {width: 65}\nselect: {budgets: [5]}\n",
            "--width '65': Input should be a mult",
        ),
        ("- a list\n", "a recipe holds settings by name, not"),
        ("pool: [a.jsonl]\nselect: {budgets: [5]}\n", "pool"),
        ("", "a recipe holds settings by name, not 'None'"),
        ("pool: !!python/object/apply:os.system [ls]\n", "recipe.yaml:1: not valid YAML"),
        ("select: {budgets: [5]}\n", "name the pool"),
    ],
)
def test_a_recipe_that_cannot_be_is_one_line(recipe: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe)
    outcome = s2l("run", path, "--out", tmp_path / "run")
    assert outcome.code == SETTINGS
    assert message in outcome.error


def test_a_missing_recipe_is_one_line(tmp_path: Path) -> None:
    outcome = s2l("run", tmp_path / "none.yaml", "--out", tmp_path / "run")
    assert outcome.code == SETTINGS
    assert "none.yaml: No such file or directory" in outcome.error


def test_an_unreachable_hub_is_one_line_with_both_ways_out(toy_pool: Path, tmp_path: Path) -> None:
    outcome = s2l("run", toy_pool, "--budget", "5", "--proxy", "nobody/no-such-model", "--out", tmp_path / "run")
    assert outcome.code == MACHINE
    assert "--proxy PATH" in outcome.error
    assert "--proxy builtin" in outcome.error
    outcome = s2l("run", "nobody/no-such-dataset", "--budget", "5", *FLAGS, "--out", tmp_path / "other")
    assert outcome.code == MACHINE
    assert "nobody/no-such-dataset: " in outcome.error


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("row 17\n", "keep.txt:1: 'row 17' is no id; write ids of 24 hex digits"),
        ("\n" + "0" * 24 + "\n", "1 of 1 ids to keep are not in the pool or were excluded, the first: '000000"),
    ],
)
def test_ids_to_keep_that_cannot_be_are_one_line(ids: str, message: str, toy_run: Path, tmp_path: Path) -> None:
    (tmp_path / "keep.txt").write_text(ids)
    outcome = s2l("select", toy_run, "--budget", "5", "--keep", tmp_path / "keep.txt")
    assert outcome.code == SETTINGS
    assert message in outcome.error
