"""The baselines on made-up frames with known answers, and on the real recording against its published figures."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from conftest import real_data
from scipy.spatial.transform import Rotation

from vlocnetpp.data import open_dataset
from vlocnetpp.data.frames import DataError, Frame
from vlocnetpp.evaluation import (
    PEERS,
    localization_metrics,
    mean_pose,
    nearest_training_pose,
    pose_errors,
    thumbnail_retrieval,
)


def frame(name: str, pose_7, image_path=None) -> Frame:
    pose = None if pose_7 is None else np.array(pose_7, float)
    return Frame(name=name, stamp_ns=0, image_path=image_path, K_33=np.eye(3), pose_7=pose)


def yawed(x: float, degrees: float) -> list[float]:
    return [x, 0, 0, math.cos(math.radians(degrees) / 2), 0, 0, math.sin(math.radians(degrees) / 2)]


def test_mean_pose_by_hand():
    train = [
        frame("a", yawed(0, 10)),
        frame("b", yawed(2, 30)),
        frame("c", -np.array(yawed(4, 50)) * [-1, 1, 1, 1, 1, 1, 1]),
    ]
    estimate = mean_pose(train, [frame("t", None)] * 2)
    assert estimate.shape == (2, 7)
    np.testing.assert_allclose(estimate, [yawed(2, 30)] * 2, atol=1e-12)


def test_mean_rotation_agrees_with_scipy():
    rng = np.random.default_rng(2)
    rotations = Rotation.random(9, random_state=rng)
    train = [frame(str(i), [0, 0, 0, *q[[3, 0, 1, 2]]]) for i, q in enumerate(rotations.as_quat())]
    expected = rotations.mean().as_quat()[[3, 0, 1, 2]]
    _, degrees = pose_errors(mean_pose(train, train[:1]), [[0, 0, 0, *expected]])
    assert degrees[0] < 1e-6


def test_the_oracle_weighs_metres_against_degrees():
    train = [frame("near but turned", yawed(0.0, 20)), frame("aligned but off", yawed(0.15, 0))]
    estimate = nearest_training_pose(train, [frame("t", yawed(0, 0)), frame("u", yawed(0, 18))])
    np.testing.assert_allclose(estimate[:, 0], [0.15, 0.0])


def test_retrieval_finds_the_same_view_in_another_light(tmp_path):
    rng = np.random.default_rng(4)
    train, test = [], []
    for i in range(5):
        image = cv2.resize(rng.integers(0, 200, (6, 8, 3), dtype=np.uint8), (64, 48), interpolation=cv2.INTER_CUBIC)
        darker = cv2.convertScaleAbs(np.roll(image, 1, axis=1), alpha=0.5, beta=30)
        for name, pixels, frames in (("train", image, train), ("test", darker, test)):
            path = tmp_path / f"{name}{i}.png"
            cv2.imwrite(str(path), pixels)
            frames.append(frame(f"{name}{i}", yawed(i, 0), path))
    estimate = thumbnail_retrieval(train, test[::-1])
    np.testing.assert_array_equal(estimate[:, 0], [4, 3, 2, 1, 0])
    # A black image looks like nothing, but it is no reason to fail.
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((48, 64, 3), np.uint8))
    assert np.isfinite(thumbnail_retrieval(train, [frame("black", None, tmp_path / "black.png")])).all()


def test_only_oracles_look_at_the_ground_truth(tmp_path):
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), np.arange(48, dtype=np.uint8).reshape(6, 8))
    train, test = [frame("a", yawed(0, 0), path)], [frame("t", None, path)]
    for peer in PEERS:
        if peer.oracle:
            with pytest.raises(DataError, match="t: has no ground-truth pose"):
                peer.estimate(train, test)
        else:
            assert peer.estimate(train, test).shape == (1, 7)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_nothing_to_compare(peer, tmp_path):
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), np.zeros((6, 8), np.uint8))
    with pytest.raises(DataError, match="no training frame"):
        peer.estimate([], [frame("t", yawed(0, 0), path)])
    with pytest.raises(DataError, match="a: has no ground-truth pose"):
        peer.estimate([frame("a", None, path)], [])
    assert peer.estimate([frame("a", yawed(0, 0), path)], []).shape == (0, 7)


@pytest.mark.parametrize(
    ("peer", "metres", "degrees"), [(nearest_training_pose, 0.135, 7.4), (thumbnail_retrieval, 0.17, 6.5)]
)
def test_figures_on_the_real_recording(peer, metres, degrees):
    """Measured independently of this code; thumbnails differ in their details, so the tolerance is that of a peer."""
    dataset = open_dataset(real_data("redkitchen"))
    train, test = dataset.frames("train"), dataset.frames("test")
    score = localization_metrics(peer(train, test), [each.pose_7 for each in test])
    assert score["frames"] == 120
    assert score["median_translation_m"] == pytest.approx(metres, abs=0.015)
    assert score["median_rotation_deg"] == pytest.approx(degrees, abs=1.0)
