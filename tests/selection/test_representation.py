"""What k-means compares."""

import numpy as np
import pytest

from s2l.errors import SettingsError
from s2l.selection.representation import represent, total_variation

LOSSES = np.array([[4.0, 2.0, 1.0], [1.5, 1.5, 1.5], [0.0, 1.0, 0.0]])


def test_raw_is_the_losses():
    assert represent(LOSSES, "raw").tolist() == LOSSES.tolist()


def test_log_stays_finite_where_a_loss_is_zero():
    assert represent(LOSSES, "log")[0] == pytest.approx(np.log([4, 2, 1]))
    assert represent(LOSSES, "log")[2] == pytest.approx([-12 * np.log(2), 0, -12 * np.log(2)])


def test_z_normalised_trajectories_keep_their_shape_only_and_flat_ones_stay_flat():
    shape_NT = represent(np.array([[4.0, 2.0, 0.0], [0.4, 0.2, 0.0], [0.1, 0.1, 0.1]]), "z-normalised")
    assert shape_NT[0] == pytest.approx(shape_NT[1])
    assert shape_NT[0].std() == pytest.approx(1)
    assert shape_NT[2] == pytest.approx([0, 0, 0], abs=1e-9)


def test_differences_are_from_checkpoint_to_checkpoint():
    assert represent(LOSSES, "differences").tolist() == [[-2, -1], [0, 0], [1, -1]]
    with pytest.raises(SettingsError, match="needs 2 checkpoints"):
        represent(LOSSES[:, :1], "differences")


def test_total_variation_counts_every_move():
    assert total_variation(LOSSES).tolist() == [3, 0, 2]
    assert total_variation(LOSSES[:, :1]).tolist() == [0, 0, 0]
