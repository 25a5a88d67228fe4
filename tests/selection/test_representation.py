"""What k-means compares."""

import numpy as np
import pytest
from selection_toys import record

from s2l.errors import SettingsError
from s2l.selection.representation import Represented, represent, total_variation
from toy_losses import decaying

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


@pytest.mark.parametrize("representation", ["raw", "log", "z-normalised", "differences"])
def test_features_made_a_slice_at_a_time_are_the_same(representation):
    trajectories = record(decaying(9)).trajectories
    whole_ND = represent(trajectories.losses_NT, representation)
    features = Represented(trajectories, representation)
    assert features.shape == whole_ND.shape
    assert np.concatenate([features[start : start + 4] for start in range(0, 9, 4)]).tolist() == whole_ND.tolist()
