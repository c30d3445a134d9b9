"""The peers on made-up frames with known answers, and on the real recording against its published figures."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from conftest import real_data
from scipy.spatial.transform import Rotation

from vlocnetpp.data import open_dataset
from vlocnetpp.data.frames import DataError, Frame, Sequence
from vlocnetpp.evaluation import (
    ODOMETRY_PEERS,
    PEERS,
    QUICK_PEERS,
    localization_metrics,
    odometry_metrics,
    pose_errors,
    run_odometry_peer,
    run_peer,
)
from vlocnetpp.evaluation.poses import relative

PEER = {peer.name: peer for peer in (*PEERS, *ODOMETRY_PEERS)}
BLACK = np.zeros((48, 64, 3), np.uint8)


def frame(name: str, pose_7, image_path=None, **more) -> Frame:
    pose = None if pose_7 is None else np.array(pose_7, float)
    return Frame(name=name, stamp_ns=0, image_path=image_path, K_33=np.eye(3), pose_7=pose, **more)


def yawed(x: float, degrees: float) -> list[float]:
    return [x, 0, 0, math.cos(math.radians(degrees) / 2), 0, 0, math.sin(math.radians(degrees) / 2)]


def answers(name: str, train, test) -> np.ndarray:
    """What a peer that looks at no image says."""
    place = PEER[name].build(train)
    return np.array([place.locate(each, BLACK) for each in test])


@pytest.fixture
def black(tmp_path):
    """The path of a black image."""
    cv2.imwrite(str(tmp_path / "black.png"), BLACK)
    return tmp_path / "black.png"


def test_mean_pose_by_hand():
    train = [
        frame("a", yawed(0, 10)),
        frame("b", yawed(2, 30)),
        frame("c", -np.array(yawed(4, 50)) * [-1, 1, 1, 1, 1, 1, 1]),
    ]
    estimate = answers("mean pose", train, [frame("t", None)] * 2)
    np.testing.assert_allclose(estimate, [yawed(2, 30)] * 2, atol=1e-12)
    assert PEER["mean pose"].build(train).map_bytes == 56


def test_mean_rotation_agrees_with_scipy():
    rng = np.random.default_rng(2)
    rotations = Rotation.random(9, random_state=rng)
    train = [frame(str(i), [0, 0, 0, *q[[3, 0, 1, 2]]]) for i, q in enumerate(rotations.as_quat())]
    expected = rotations.mean().as_quat()[[3, 0, 1, 2]]
    _, degrees = pose_errors(answers("mean pose", train, train[:1]), [[0, 0, 0, *expected]])
    assert degrees[0] < 1e-6


def test_the_oracle_weighs_metres_against_degrees():
    train = [frame("near but turned", yawed(0.0, 20)), frame("aligned but off", yawed(0.15, 0))]
    estimate = answers("nearest training pose", train, [frame("t", yawed(0, 0)), frame("u", yawed(0, 18))])
    np.testing.assert_allclose(estimate[:, 0], [0.15, 0.0])


def test_thumbnails_find_the_same_view_in_another_light(tmp_path, black):
    rng = np.random.default_rng(4)
    train, test = [], []
    for i in range(5):
        image = cv2.resize(rng.integers(0, 200, (6, 8, 3), dtype=np.uint8), (64, 48), interpolation=cv2.INTER_CUBIC)
        darker = cv2.convertScaleAbs(np.roll(image, 1, axis=1), alpha=0.5, beta=30)
        for name, pixels, frames in (("train", image, train), ("test", darker, test)):
            path = tmp_path / f"{name}{i}.png"
            cv2.imwrite(str(path), pixels)
            frames.append(frame(f"{name}{i}", yawed(i, 0), path))
    estimate = run_peer(PEER["thumbnail retrieval"], train, test[::-1]).pose_N7
    np.testing.assert_array_equal(estimate[:, 0], [4, 3, 2, 1, 0])
    # A black image looks like nothing, but it is no reason to fail.
    assert np.isfinite(run_peer(PEER["thumbnail retrieval"], train, [frame("black", None, black)]).pose_N7).all()


def test_tables():
    assert set(QUICK_PEERS) <= set(PEERS)
    assert len({peer.name for peer in (*PEERS, *ODOMETRY_PEERS)}) == len(PEERS) + len(ODOMETRY_PEERS)
    assert [peer.name for peer in PEERS if peer.oracle] == ["nearest training pose"]
    assert all("ground truth" in peer.note for peer in (*PEERS, *ODOMETRY_PEERS) if peer.oracle)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_only_oracles_look_at_the_ground_truth(peer, black):
    train, test = [frame("a", yawed(0, 0), black, depth_path=black)], [frame("t", None, black)]
    if peer.oracle:
        with pytest.raises(DataError, match="t: has no ground-truth pose"):
            run_peer(peer, train, test)
    else:
        found = run_peer(peer, train, test)
        assert found.pose_N7.shape == (1, 7)
        assert found.latency_ms_N[0] > 0
        assert found.build_s > 0


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_nothing_to_compare(peer, black):
    with pytest.raises(DataError, match="no training frame"):
        run_peer(peer, [], [frame("t", yawed(0, 0), black)])
    with pytest.raises(DataError, match="a: has no ground-truth pose"):
        run_peer(peer, [frame("a", None, black)], [])
    for need in peer.needs:
        with pytest.raises(DataError, match=f"needs {need}, and no training frame has it"):
            run_peer(peer, [frame("a", yawed(0, 0), black)], [])


@pytest.mark.parametrize(
    ("peer", "metres", "degrees"), [("nearest training pose", 0.135, 7.4), ("thumbnail retrieval", 0.17, 6.5)]
)
def test_figures_on_the_real_recording(peer, metres, degrees):
    """Measured independently of this code; thumbnails differ in their details, so the tolerance is that of a peer."""
    dataset = open_dataset(real_data("redkitchen"))
    train, test = dataset.frames("train"), dataset.frames("test")
    score = localization_metrics(run_peer(PEER[peer], train, test).pose_N7, [each.pose_7 for each in test])
    assert score["frames"] == 120
    assert score["median_translation_m"] == pytest.approx(metres, abs=0.015)
    assert score["median_rotation_deg"] == pytest.approx(degrees, abs=1.0)


def test_constant_velocity_and_no_motion_by_hand(black):
    poses = [yawed(0, 0), yawed(1, 0), yawed(2, 10), yawed(2, 10)]
    sequences = [
        Sequence("a", tuple(frame(f"a{i}", pose, black) for i, pose in enumerate(poses))),
        Sequence("b", tuple(frame(f"b{i}", pose, black) for i, pose in enumerate([yawed(0, 0), None, *poses[:3]]))),
    ]
    still, valid, times = run_odometry_peer(PEER["no motion"], sequences)
    np.testing.assert_array_equal(valid, [0, 1, 1, 1, 0, 0, 0, 1, 1])
    assert times.shape == (9,)
    np.testing.assert_array_equal(still[valid], np.tile([0, 0, 0, 1, 0, 0, 0], (5, 1)))
    assert np.isnan(still[~valid]).all()
    repeated, valid, _ = run_odometry_peer(PEER["constant velocity"], sequences)
    step = yawed(1, 0)
    expected = [yawed(0, 0), step, relative(np.array([poses[1]]), np.array([poses[2]]))[0], yawed(0, 0), step]
    np.testing.assert_allclose(repeated[valid], expected, atol=1e-12)
    truth = [each.pose_7 for each in sequences[0].frames]
    assert odometry_metrics(repeated[:4], truth, valid[:4])["frames"] == 3
    assert [part.shape for part in run_odometry_peer(PEER["no motion"], [])] == [(0, 7), (0,), (0,)]
