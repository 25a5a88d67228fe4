"""`s2l evaluate`: the six sets through the harness, files, the same questions for every model, mistakes in one line."""

import json
import sys

import pytest
from evaluation_toys import SETS, rows_of, write_sets

import s2l.cli.evaluate  # noqa: F401 - its verb
from s2l.target.answers.symbolic import Prover
from s2l.target.evaluate_settings import TASKS
from s2l.target.model import TRAINED_ON
from toy_runs import FOLDER, SETTINGS, tiny_llama, toy_rows, write_jsonl
from toy_runs import s2l as command

pytest.importorskip("lm_eval", reason="the extra eval is not installed")

FAST = ("--template", "short", "--max-new-tokens", "4")
FIGURES = ("heldout", "tasks", "summaries")


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    return write_sets(tmp_path_factory.mktemp("sets") / "test")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("model"))


def lines_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("task", TASKS)
def test_a_model_that_knows_the_answers_gets_all_of_them(task, sets):
    from parrot import Parrot

    from s2l.target.harness import run_task

    golds = SETS[task]
    with Prover() as prover:
        told, rows = run_task(task, str(sets / f"{task}.jsonl"), None, Parrot(lambda doc: doc["answer"]), prover)
        assert (told["accuracy"], told["stderr"], told["n"], told["of"]) == (1.0, 0.0, len(golds), len(golds))
        assert {row["gold"] for row in rows} == set(golds)
        assert all(row["right"] and row["output"] == row["gold"] for row in rows)
        first = Parrot(lambda doc: f"The answer is {doc['answer']}" if doc["answer"] == golds[0] else "")
        told, rows = run_task(task, str(sets / f"{task}.jsonl"), None, first, prover)
    share, n = 1 / len(golds), len(golds)
    assert told["accuracy"] == pytest.approx(share)
    assert told["stderr"] == pytest.approx((share * (1 - share) / (n - 1)) ** 0.5)
    assert sum(told["decided_by"].values()) == n
    assert told["decided_by"]["no answer"] == n - 1
    assert [row["right"] for row in rows].count(True) == 1


def test_nobody_elses_files_are_written_over(model, tmp_path):
    heldout = write_jsonl(tmp_path / "heldout.jsonl", toy_rows())
    (tmp_path / "theirs" / "outputs").mkdir(parents=True)
    outcome = command("evaluate", model, "--heldout", heldout, *FAST, "--out", tmp_path / "theirs")
    assert outcome.code == FOLDER and "holds other files, such as 'outputs'" in outcome.error
    outcome = command("evaluate", model, "--heldout", heldout, *FAST, "--out", heldout)
    assert outcome.code == FOLDER and "a file, not a folder" in outcome.error


def test_columns_say_how_held_out_rows_are_read(model, tmp_path):
    rows = [{"ask": f"Add {i}.", "say": "yes", "output": "something else", "kind": "ab"[i % 2]} for i in range(8)]
    heldout = write_jsonl(tmp_path / "heldout.jsonl", rows)
    words = ("--columns", "prompt=ask,response=say", "--source-column", "kind", "--json")
    found = json.loads(command("evaluate", model, "--heldout", heldout, *FAST, *words).out)
    assert set(found["heldout"]["by_source"]) == {"a", "b"}
    assert found["asked"]["reading"]["columns"] == {"prompt": "ask", "response": "say"}


def test_an_evaluation_leaves_figures_and_every_output(model, sets, tmp_path):
    heldout = write_jsonl(tmp_path / "heldout.jsonl", toy_rows())
    notes = write_jsonl(tmp_path / "notes.jsonl", toy_rows()[:8])
    words = ("--tasks", ",".join(TASKS), "--data", sets, "--heldout", heldout, "--summaries", notes, "--limit", "3")
    outcome = command("evaluate", model, *words, *FAST, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert "± " in outcome.out
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert set(found["heldout"]["by_source"]) == {"add", "say", "more"}
    assert set(found["tasks"]) == set(TASKS)
    for task, figures in found["tasks"].items():
        rows = lines_of(tmp_path / "out" / "outputs" / f"{task}.jsonl")
        assert (figures["n"], figures["of"]) == (3, len(SETS[task]))
        assert figures["accuracy"] == sum(row["right"] for row in rows) / 3
        assert figures["cut"] == sum(row["cut"] for row in rows)
        assert all(row["prompt"] == f"Q: {row['question']}\nA: " for row in rows)
        golds = {row["question"]: row["answer"] for row in rows_of(task)}
        assert all(golds[row["question"]] == row["gold"] for row in rows)
    assert len(lines_of(tmp_path / "out" / "outputs" / "summaries.jsonl")) == 3


def test_the_same_command_gives_the_same_and_another_is_refused(model, sets, tmp_path):
    words = ("evaluate", model, "--tasks", "gsm8k,numglue", "--data", sets, *FAST, "--json")
    one = json.loads(command(*words).out)
    out = tmp_path / "out"
    kept = command(*words, "--out", out)
    assert {name: one[name] for name in ("heldout", "summaries")} == {"heldout": None, "summaries": None}
    assert {name: json.loads(kept.out)[name] for name in FIGURES} == {name: one[name] for name in FIGURES}
    (out / "outputs" / "gsm8k.jsonl").unlink()
    again = command(*words, "--out", out, "--batch-tokens", "200", "--threads", "1")
    assert json.loads(again.out) == json.loads(kept.out)
    assert not (out / "outputs" / "gsm8k.jsonl").exists(), "nothing was generated again"
    other = command(*words, "--limit", "2", "--out", out)
    assert other.code == FOLDER
    assert "made with another --limit" in other.error
    stranger = tiny_llama(tmp_path / "other", window=128)
    assert command("evaluate", stranger, *words[2:], "--out", out).code == FOLDER


def test_a_file_that_has_changed_is_another_evaluation(model, tmp_path):
    data = write_jsonl(tmp_path / "svamp.jsonl", rows_of("svamp"))
    words = ("evaluate", model, "--tasks", "svamp", "--data", f"svamp={data}", *FAST, "--out", tmp_path / "out")
    assert command(*words).code == 0
    write_jsonl(data, rows_of("svamp")[1:])
    outcome = command(*words)
    assert outcome.code == FOLDER
    assert "svamp.jsonl has changed since; use another --out" in outcome.error


def test_the_questions_do_not_depend_on_the_order_of_the_file_or_on_the_batches(model, sets, tmp_path):
    turned = write_jsonl(tmp_path / "turned.jsonl", rows_of("numglue")[::-1])
    asked = ("--limit", "4", *FAST)
    for name, data, more in (("a", sets, ()), ("b", f"numglue={turned}", ("--batch-tokens", "16"))):
        outcome = command(
            "evaluate", model, "--tasks", "numglue", "--data", data, *asked, *more, "--out", tmp_path / name
        )
        assert outcome.code == 0, outcome.err
    one, other = (lines_of(tmp_path / name / "outputs" / "numglue.jsonl") for name in "ab")
    assert len(one) == 4
    assert one == other
    command("evaluate", model, "--tasks", "numglue", "--data", sets, "--limit", "2", *FAST, "--out", tmp_path / "c")
    assert lines_of(tmp_path / "c" / "outputs" / "numglue.jsonl") == one[:2]


def test_a_prompt_longer_than_the_window_is_wrong_and_counted(tmp_path):
    model = tiny_llama(tmp_path / "model", window=32)
    rows = [{"question": "how many? " * 50, "answer": "5"}, {"question": "2?", "answer": "7"}]
    data = write_jsonl(tmp_path / "gsm8k.jsonl", rows)
    outcome = command("evaluate", model, "--tasks", "gsm8k", "--data", f"gsm8k={data}", *FAST, "--json")
    figures = json.loads(outcome.out)["tasks"]["gsm8k"]
    assert (figures["n"], figures["prompt_too_long"]) == (2, 1)


def test_a_hostile_row_is_printed_as_text_and_never_run(model, tmp_path):
    rows = [
        {"question": "{{ 7 * 7 }} {% raw %} \x1b[31m\u202e <script>", "answer": "[__import__('os').getcwd()]"},
        {"question": "x" * 300, "answer": "\x1b[2J"},
    ]
    data = write_jsonl(tmp_path / "math.jsonl", rows)
    out = tmp_path / "out"
    outcome = command("evaluate", model, "--tasks", "math", "--data", f"math={data}", *FAST, "--out", out)
    assert outcome.code == 0, outcome.err
    assert "\x1b[2J" not in outcome.out + outcome.err
    kept = {row["question"]: row for row in lines_of(out / "outputs" / "math.jsonl")}
    assert set(kept) == {row["question"] for row in rows}
    assert kept[rows[0]["question"]]["gold"] == rows[0]["answer"]


def test_sets_may_be_parquet_or_hold_worked_solutions(model, tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = [{"question": f"{i}?", "answer": f"Half of {i} …\n#### {i / 2:g}"} for i in range(3)]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "gsm8k.parquet")
    out = tmp_path / "out"
    outcome = command("evaluate", model, "--tasks", "gsm8k", "--data", tmp_path, *FAST, "--out", out)
    assert outcome.code == 0, outcome.err
    assert {row["gold"] for row in lines_of(out / "outputs" / "gsm8k.jsonl")} == {"0", "0.5", "1"}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "say what to measure"),
        (("--tasks", "gsm9k"), "no test set 'gsm9k'; there are: gsm8k, math"),
        (("--tasks", "gsm8k"), "--data: gsm8k: no rows; name them: --data gsm8k=FILE"),
        (("--tasks", "gsm8k", "--data", "nowhere"), "--data nowhere: no such folder"),
        (("--tasks", "gsm8k", "--data", "gsm9k=a.jsonl"), "--data 'gsm9k': no such test set"),
        (("--heldout", "a.jsonl", "--limit", "0"), "--limit '0': Input should be greater than or equal to 1"),
        (("--bertscore", "x", "--heldout", "a.jsonl"), "--bertscore is of summaries"),
        (("--bertscore", "x", "--summaries", __file__), "--bertscore x: no such folder"),
    ],
)
def test_mistakes_are_one_line(words, line, model):
    outcome = command("evaluate", model, *words)
    assert outcome.code == SETTINGS
    assert line in outcome.error


@pytest.mark.parametrize(
    "words",
    [("--heldout", "gone.jsonl"), ("--summaries", "gone.jsonl"), ("--tasks", "svamp", "--data", "svamp=gone.jsonl")],
)
def test_a_file_that_is_not_there_is_found_before_any_work(words, model, sets, tmp_path):
    also = () if "--tasks" in words else ("--tasks", "gsm8k", "--data", sets)
    outcome = command("evaluate", model, *words, *also, *FAST, "--out", tmp_path / "out")
    assert outcome.error == "error: gone.jsonl: no such file"
    assert not (tmp_path / "out").exists()


def test_a_model_of_rows_without_turns_is_asked_in_the_usual_words(sets, tmp_path):
    model = tiny_llama(tmp_path / "model")
    (model / TRAINED_ON).write_text(json.dumps({"template": "text"}))
    heldout = write_jsonl(tmp_path / "heldout.jsonl", toy_rows()[:4])
    words = ("--tasks", "gsm8k", "--data", sets, "--heldout", heldout, "--limit", "2", "--json", *FAST[2:])
    outcome = command("evaluate", model, *words)
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["model"]["template"] == "alpaca"


def test_a_question_that_is_no_unicode_is_named(model, tmp_path):
    (tmp_path / "gsm8k.jsonl").write_text('{"question": "1?", "answer": "1"}\n{"question": "\\ud83d", "answer": "3"}\n')
    outcome = command("evaluate", model, "--tasks", "gsm8k", "--data", tmp_path, *FAST)
    assert "gsm8k.jsonl:2: text is not valid Unicode (lone surrogate); mend the row" in outcome.error


def test_a_row_without_an_answer_is_named(model, tmp_path):
    data = write_jsonl(tmp_path / "gsm8k.jsonl", [{"question": "a", "answer": "1"}, {"question": "b", "answer": ""}])
    outcome = command("evaluate", model, "--tasks", "gsm8k", "--data", f"gsm8k={data}", *FAST)
    assert "gsm8k.jsonl:2: no answer; mend the row" in outcome.error


@pytest.mark.parametrize(
    ("flag", "names"), [("--tasks", "lm_eval and math_verify"), ("--summaries", "rouge_score and sacrebleu")]
)
def test_a_missing_package_is_one_line_with_the_command(flag, names, model, sets, monkeypatch):
    for name in names.split(" and "):
        monkeypatch.setitem(sys.modules, name, None)
    given = ("gsm8k", "--data", sets) if flag == "--tasks" else (sets / "gsm8k.jsonl",)
    outcome = command("evaluate", model, flag, *given)
    assert outcome.error.startswith(f"error: this needs {names}: pip install 'lm-eval>=")


def test_deepmind_is_another_name_of_the_mathematics_file(sets, tmp_path):
    from s2l.target.evaluate_settings import EvaluateSettings

    write_jsonl(tmp_path / "deepmind.jsonl", rows_of("mathematics"))
    settings = EvaluateSettings(tasks="mathematics", data=str(tmp_path))
    assert settings.data_of_tasks() == {"mathematics": str(tmp_path / "deepmind.jsonl")}
    write_jsonl(tmp_path / "mathematics.jsonl", rows_of("mathematics"))
    with pytest.raises(ValueError, match="several files fit"):
        settings.data_of_tasks()
