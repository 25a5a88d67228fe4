"""A view of a run holds some of its checkpoints, costs nothing to make, and leaves the run as it was."""

import numpy as np
import pytest

from s2l import pipeline
from s2l.config import SelectSettings
from s2l.errors import SettingsError
from s2l.experiment.proxies import seen_by, view
from s2l.progress import SILENT
from s2l.run_folder import RunFolder
from toy_runs import files_of, kept_ids


def losses(run):
    with pipeline.finished(run) as (folder, made):
        _, recorded, _ = pipeline.recall(folder, made, SILENT)
        return recorded.trajectories.losses_NT


def test_a_view_holds_the_losses_of_its_checkpoints(own_run, tmp_path):
    view(own_run, (3, 1), tmp_path / "view")
    assert np.array_equal(losses(tmp_path / "view"), losses(own_run)[:, [0, 2]])
    whole = seen_by(RunFolder(own_run))
    assert seen_by(RunFolder(tmp_path / "view")) == (whole[0], whole[2])


def test_drawing_from_a_view_leaves_the_run_as_it_was(own_run, tmp_path):
    before = files_of(own_run)
    view(own_run, (1, 2), tmp_path / "view")
    asked = SelectSettings(budgets=("20%",), options={"clusters": 10})
    (subset,) = pipeline.draw(tmp_path / "view", asked, 0)["subsets"]
    assert files_of(own_run) == before
    (other,) = pipeline.draw(own_run, asked, 0)["subsets"]
    assert kept_ids(tmp_path / "view" / subset["path"]) != kept_ids(own_run / other["path"])


def test_a_view_of_all_checkpoints_draws_what_the_run_draws(own_run, tmp_path):
    view(own_run, (1, 2, 3, 4), tmp_path / "view")
    asked = SelectSettings(budgets=("20%",), options={"clusters": 10})
    drawn = [pipeline.draw(run, asked, 0)["subsets"][0]["selection_sha256"] for run in (own_run, tmp_path / "view")]
    assert drawn[0] == drawn[1]


def test_a_checkpoint_that_there_is_not_is_one_line(own_run, tmp_path):
    with pytest.raises(SettingsError, match="5 is asked for, the proxy has 4"):
        view(own_run, (5,), tmp_path / "view")
