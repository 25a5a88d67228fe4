"""`s2l train`: its result, and its mistakes."""

import json
import re

import pytest

import s2l.cli.train
from s2l.files import read_json
from toy_runs import DATA, FOLDER, SETTINGS, s2l

SMALL = (
    "--model",
    "builtin",
    "--layers",
    "1",
    "--width",
    "64",
    "--max-length",
    "64",
    "--epochs",
    "1",
    "--threads",
    "1",
)


def test_it_trains_on_the_subset_and_tells_what_came_of_it(toy_run, tmp_path) -> None:
    outcome = s2l("train", toy_run, *SMALL, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert "17 rows, 1 epochs, 1 steps" in outcome.out
    assert str(tmp_path / "out" / "model") in outcome.out
    again = s2l("train", toy_run, *SMALL, "--out", tmp_path / "out", "--json")
    assert json.loads(again.out) == read_json(tmp_path / "out" / "training.json")


def test_a_run_is_no_place_to_train_into(toy_run, tmp_path) -> None:
    before = (toy_run / "run.json").read_bytes()
    outcome = s2l("train", toy_run, *SMALL, "--out", toy_run)
    assert outcome.code == FOLDER and "holds a run" in outcome.error
    assert (toy_run / "run.json").read_bytes() == before


def test_matched_steps_are_those_of_all_rows(toy_run, tmp_path) -> None:
    found = []
    for number, words in enumerate(
        (("--all",), ("--match", "steps"), ("--match", "steps", "--subset", "random-11pct"))
    ):
        outcome = s2l("train", toy_run, *SMALL, *words, "--out", tmp_path / str(number), "--json")
        assert outcome.code == 0, outcome.err
        found.append(json.loads(outcome.out))
    assert [record["steps"] for record in found] == [5, 5, 5]
    assert [record["rows"] for record in found] == [148, 17, 17]
    assert found[1]["epochs"] == 5
    assert found[2]["from"]["subset"]["name"] == "random-11pct"


def test_a_file_is_trained_on_with_its_columns_named(tmp_path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"ask": f"Add {i} and 1.", "say": f"{i + 1}", "ok": "true" if i % 2 else "false"} for i in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("--file", path, "--columns", "prompt=ask,response=say", "--where", "ok=true", "--vocabulary", "300")
    outcome = s2l("train", *SMALL, *words, "--out", tmp_path / "out", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["rows"] == 20


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), SETTINGS, "say what to train on"),
        (("RUN", "--file", "x.jsonl"), SETTINGS, "say what to train on"),
        (("RUN", "--model", "other"), SETTINGS, "--model: name one"),
        (("RUN", "--subset", "none"), FOLDER, "no subset 'none'; there are: random-11pct, s2l-11pct"),
        (("RUN", "--subset", "none", "--all"), SETTINGS, "say one"),
        (("RUN", "--columns", "prompt=a"), SETTINGS, "a run knows how its own rows are"),
        (("--file", "x.jsonl", "--all"), SETTINGS, "--file is all that is trained on"),
        (("--file", "gone.jsonl"), DATA, "gone.jsonl: no such file"),
        (("RUN", "--batch-size", "0"), SETTINGS, "--batch-size '0': Input should be greater than or equal to 1"),
        (("RUN", "--match", "rows"), SETTINGS, "--match 'rows': Input should be 'epochs' or 'steps'"),
        (("RUN", "--device", "abacus"), SETTINGS, "no device 'abacus'"),
    ],
)
def test_mistakes_are_one_line(toy_run, tmp_path, words, code, said) -> None:
    words = [toy_run if word == "RUN" else word for word in words]
    outcome = s2l("train", *words, *SMALL, "--out", tmp_path / "out")
    assert outcome.code == code
    assert said in outcome.error
    assert not (tmp_path / "out" / "model").exists()


def test_a_model_and_a_folder_must_be_named(toy_run, tmp_path) -> None:
    assert "--model NAME" in s2l("train", toy_run, "--out", tmp_path / "out").error
    assert "--out FOLDER" in s2l("train", toy_run, *SMALL).error
    assert "no such folder" in s2l("train", toy_run, "--model", "./nowhere", "--out", tmp_path / "out").error
    assert "a run, or a training that is not finished" in s2l("train", toy_run, "--model", toy_run, "--out", "x").error


def test_a_missing_package_is_one_line_with_what_installs_it(toy_run, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("s2l.target.model.find_spec", lambda name: None)
    outcome = s2l("train", toy_run, *SMALL, "--out", tmp_path / "out")
    assert outcome.code == SETTINGS
    assert re.search(r"needs the package 'trl': pip install 'peft>=[\d.]+' 'trl>=[\d.]+'$", outcome.error)
