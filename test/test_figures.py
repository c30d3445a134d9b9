"""Pictures come out whole, look at the ground from above, and survive what real runs do to them."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vlocnetpp.data.frames import DataError
from vlocnetpp.reporting import plot_trajectory
from vlocnetpp.reporting.figures import _limits, view_from_above


def drive(n: int = 60, up: str = "z") -> np.ndarray:
    """A loop in the ground plane of a map with the given axis up, looking along the path."""
    t = np.linspace(0, 2 * math.pi, n)
    position = np.stack([4 * np.cos(t), 3 * np.sin(t), np.full(n, 1.5)], axis=1)
    forward = np.stack([-4 * np.sin(t), 3 * np.cos(t), 0 * t], axis=1)
    forward /= np.linalg.norm(forward, axis=1, keepdims=True)
    down = np.tile([0.0, 0, -1], (n, 1))
    R = np.stack([np.cross(down, forward), down, forward], axis=2)
    turn = {
        "z": np.eye(3),
        "-y": np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
        "x": np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
    }
    q = Rotation.from_matrix(turn[up] @ R).as_quat()[:, [3, 0, 1, 2]]
    return np.concatenate([position @ turn[up].T, q], axis=1)


@pytest.mark.parametrize(
    ("up", "labels"), [("z", ("x [m]", "y [m]")), ("-y", ("x [m]", "z [m]")), ("x", ("y [m]", "z [m]"))]
)
def test_the_ground_lies_flat_and_is_not_mirrored(up, labels):
    poses = drive(up=up)
    view = view_from_above(poses)
    assert view.labels == labels
    x, y = poses[:, view.right], poses[:, view.up]
    area = 0.5 * float(np.sum(x[:-1] * np.diff(y) - y[:-1] * np.diff(x)))
    assert area > 0  # the loop is driven counterclockwise, and so it looks


def test_without_a_clear_vertical_the_widest_axes_are_shown():
    rng = np.random.default_rng(0)
    poses = np.concatenate(
        [rng.normal(size=(200, 3)) * [0.1, 1, 2], Rotation.random(200, random_state=rng).as_quat()], 1
    )
    assert view_from_above(poses).labels == ("y [m]", "z [m]") and view_from_above(poses).words == "seen along x"


def test_the_picture_says_what_is_seen_and_what_the_arrows_are(tmp_path):
    truth = drive(up="-y")
    plot_trajectory(tmp_path / "loop.svg", truth, truth, "loop")
    drawn = (tmp_path / "loop.svg").read_text()  # matplotlib writes each text as a comment beside its glyphs
    assert "<!-- seen from above; " in drawn and "<!-- where the camera looks -->" in drawn


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_picture_is_written_whole(tmp_path, suffix):
    truth = drive()
    path = tmp_path / "run" / f"trajectory{suffix}"
    plot_trajectory(path, truth, truth + [0.1, 0, 0, 0, 0, 0, 0], "loop", training_N7=truth)
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert path.stat().st_size > 5000


def test_the_picture_shows_truth_estimates_and_missing_frames(tmp_path):
    truth = drive()
    estimated = truth + [0.3, 0, 0, 0, 0, 0, 0]
    estimated[10:15] = math.nan
    estimated[20, :3] = 1e3  # must not shrink everything else
    plot_trajectory(tmp_path / "trajectory.png", truth, estimated, "loop")
    pixels = cv2.imread(str(tmp_path / "trajectory.png"))
    height, width = pixels.shape[:2]
    assert 600 < width < 1600
    assert 400 < height < 1600
    vermilion = np.abs(pixels.astype(int) - [0x00, 0x5E, 0xD5]).max(axis=2) < 30
    assert vermilion.sum() > 50
    dark = pixels.max(axis=2) < 80
    columns = np.flatnonzero(dark.any(axis=0))
    assert np.ptp(columns) > width / 2  # the loop still fills the picture


@pytest.mark.parametrize(
    ("frames", "estimated"),
    [
        (1, "truth"),
        (2, "truth"),
        (30, "missing"),
        (30, "truth"),
    ],
)
def test_degenerate_runs(tmp_path, frames, estimated):
    truth = drive()[:frames]
    if frames == 2:
        truth[1] = truth[0]  # the robot stands still
    answer = truth if estimated == "truth" else np.full_like(truth, math.nan)
    plot_trajectory(tmp_path / "trajectory.png", truth, answer, "degenerate")
    assert cv2.imread(str(tmp_path / "trajectory.png")) is not None


def test_refused_in_one_line(tmp_path):
    with pytest.raises(DataError, match="no frame to draw"):
        plot_trajectory(tmp_path / "a.png", [], [], "nothing")
    with pytest.raises(DataError, match="1 estimates for 60"):
        plot_trajectory(tmp_path / "a.png", drive(), drive()[:1], "lengths")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        plot_trajectory(tmp_path / "file" / "a.png", drive(), drive(), "no folder")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_failing_estimates_are_inside_the_picture_and_one_far_away_does_not_shrink_it():
    truth_N2 = np.array([[0.0, 0.0], [2.0, 1.0]])
    estimated_N2 = np.full((40, 2), (6.0, 0.5))
    estimated_N2[0] = 1000.0, 0.0
    low, high = _limits(truth_N2, estimated_N2)
    assert 6 < high[0] < 8 and low[0] < 0
    assert _limits(truth_N2, np.full((40, 2), 1e6))[1][0] < 20, "five times the extent at most"
    np.testing.assert_array_equal(_limits(truth_N2, np.empty((0, 2))), _limits(truth_N2, truth_N2))
