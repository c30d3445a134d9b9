"""Scores of poses and masks against hand-computed values, against scipy, and on degenerate input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from vlocnetpp.data.frames import DataError
from vlocnetpp.metrics import (
    confusion,
    localization_metrics,
    odometry_metrics,
    pose_errors,
    segmentation_metrics,
)
from vlocnetpp.poses import as_poses, compose, inverse, relative

NAN7 = [math.nan] * 7
HERE = [0.0, 0, 0, 1, 0, 0, 0]


def turned(degrees: float, axis: int = 2) -> list[float]:
    half = math.radians(degrees) / 2
    q = [math.cos(half), 0.0, 0.0, 0.0]
    q[1 + axis] = math.sin(half)
    return q


def at(x: float, y: float = 0.0, z: float = 0.0, yaw_deg: float = 0.0) -> list[float]:
    return [x, y, z, *turned(yaw_deg)]


def random_poses(rng: np.random.Generator, n: int) -> np.ndarray:
    q_xyzw = Rotation.random(n, random_state=rng).as_quat()
    return np.concatenate([rng.normal(size=(n, 3)), q_xyzw[:, [3, 0, 1, 2]]], axis=1)


def matrices(poses: np.ndarray) -> np.ndarray:
    T = np.tile(np.eye(4), (len(poses), 1, 1))
    T[:, :3, :3] = Rotation.from_quat(poses[:, [4, 5, 6, 3]]).as_matrix()
    T[:, :3, 3] = poses[:, :3]
    return T


# --- poses against scipy


def test_compose_inverse_relative_agree_with_matrices():
    rng = np.random.default_rng(0)
    a, b = random_poses(rng, 50), random_poses(rng, 50)
    A, B = matrices(a), matrices(b)
    np.testing.assert_allclose(matrices(compose(a, b)), A @ B, atol=1e-12)
    np.testing.assert_allclose(matrices(inverse(a)), np.linalg.inv(A), atol=1e-12)
    np.testing.assert_allclose(matrices(relative(a, b)), np.linalg.inv(A) @ B, atol=1e-12)


@given(seed=st.integers(0, 2**32 - 1), angle=st.floats(0, math.pi))
@settings(deadline=None, max_examples=50)
def test_errors_agree_with_scipy(seed, angle):
    rng = np.random.default_rng(seed)
    truth = random_poses(rng, 1)
    axis = rng.normal(size=3)
    turn = Rotation.from_rotvec(axis / np.linalg.norm(axis) * angle)
    q = (Rotation.from_quat(truth[0, [4, 5, 6, 3]]) * turn).as_quat()[[3, 0, 1, 2]]
    shift = rng.normal(size=3)
    # The length and the sign of a quaternion say nothing about the rotation.
    estimate = np.concatenate([truth[0, :3] + shift, -3.0 * q])[None]
    translation, rotation = pose_errors(estimate, truth)
    assert translation[0] == pytest.approx(np.linalg.norm(shift))
    assert rotation[0] == pytest.approx(math.degrees(angle), abs=1e-5)


def test_tiny_rotations_are_not_rounded_away():
    _, rotation = pose_errors([[0, 0, 0, *turned(1e-7)]], [HERE])
    assert rotation[0] == pytest.approx(1e-7, rel=1e-6)


def test_what_is_not_a_pose_becomes_nan():
    poses = as_poses([[0, 0, 0, 0, 0, 0, 0], [math.inf, 0, 0, 1, 0, 0, 0], [1, 2, 3, 2, 0, 0, 0]], "poses")
    assert np.isnan(poses[:2]).all()
    np.testing.assert_array_equal(poses[2], [1, 2, 3, 1, 0, 0, 0])


# --- localization


def test_localization_by_hand():
    truth = [HERE] * 4
    estimated = [at(0.03), at(0.0, 0.1, 0.0, 4.0), at(0.3, yaw_deg=2.0), at(0.04, yaw_deg=6.0)]
    score = localization_metrics(estimated, truth)
    assert score["frames"] == 4
    assert score["failed"] == 0
    assert score["median_translation_m"] == pytest.approx(0.07)  # 0.03 0.04 0.1 0.3
    assert score["median_rotation_deg"] == pytest.approx(3.0)  # 0 2 4 6
    assert score["mean_translation_m"] == pytest.approx(0.1175)
    assert score["mean_rotation_deg"] == pytest.approx(3.0)
    assert score["p95_translation_m"] == pytest.approx(0.1 + 0.85 * 0.2)  # position 2.85 of 0..3
    assert score["p95_rotation_deg"] == pytest.approx(5.7)
    assert score["recall_5cm_5deg"] == 0.25
    assert score["recall_25cm_5deg"] == 0.5


def test_localization_is_never_aligned():
    truth = np.array([at(i * 0.1) for i in range(10)])
    shifted = truth + np.array([0.5, 0, 0, 0, 0, 0, 0])
    assert localization_metrics(shifted, truth)["median_translation_m"] == pytest.approx(0.5)


def test_a_missing_estimate_is_infinitely_wrong():
    truth = [HERE] * 3
    score = localization_metrics([at(0.01), at(0.02), NAN7], truth)
    assert score["failed"] == 1
    assert score["median_translation_m"] == pytest.approx(0.02)
    assert score["mean_translation_m"] == math.inf
    assert score["p95_translation_m"] == math.inf
    assert score["recall_5cm_5deg"] == pytest.approx(2 / 3)
    # Half of the frames missing: the median lies between a number and infinity.
    assert localization_metrics([at(0.01), NAN7], [HERE] * 2)["median_translation_m"] == math.inf


def test_all_failed():
    score = localization_metrics([NAN7, NAN7], [HERE, HERE])
    assert score["failed"] == score["frames"] == 2
    for key in ("median_translation_m", "mean_rotation_deg", "p95_translation_m"):
        assert score[key] == math.inf
    assert score["recall_25cm_5deg"] == 0.0


def test_no_frame_and_one_frame():
    none = localization_metrics(np.empty((0, 7)), [])
    assert none["frames"] == none["failed"] == 0
    assert math.isnan(none["median_translation_m"])
    assert math.isnan(none["recall_5cm_5deg"])
    one = localization_metrics([at(0.02)], [HERE])
    assert one["median_translation_m"] == one["mean_translation_m"] == one["p95_translation_m"] == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("estimated", "truth", "message"),
    [
        ([HERE], [HERE, HERE], "1 estimates for 2 ground-truth poses"),
        ([HERE], [NAN7], "ground-truth pose 0 is not a pose"),
        ([[0.0, 0, 0]], [HERE], r"must have the shape \(N, 7\)"),
    ],
)
def test_localization_refuses(estimated, truth, message):
    with pytest.raises(DataError, match=message):
        localization_metrics(estimated, truth)


# --- odometry


def straight(n: int, step: float) -> tuple[np.ndarray, np.ndarray]:
    return np.array([at(i * step) for i in range(n)]), np.array([i > 0 for i in range(n)])


def test_odometry_by_hand():
    truth, valid = straight(11, 0.25)
    motion = np.tile(at(0.275), (11, 1))  # ten per cent too far
    score = odometry_metrics(motion, truth, valid, (1.0, 2.0))
    assert score["translation_percent"] == pytest.approx(10.0)
    assert score["rotation_deg_per_m"] == pytest.approx(0.0)
    assert score["rpe_translation_m"] == pytest.approx(0.025)
    assert score["rpe_rotation_deg"] == pytest.approx(0.0)
    assert score["segments"] == 7 + 3  # starts 0..6 reach 1 m, 0..2 reach 2 m
    assert score["segment_lengths_m"] == [1.0, 2.0]


def test_the_travelled_length_divides_not_the_nominal_one():
    truth, valid = straight(9, 0.3)
    score = odometry_metrics(np.tile(at(0.33), (9, 1)), truth, valid, (1.0,))
    assert score["translation_percent"] == pytest.approx(10.0)  # a segment is 1.2 m long


def test_odometry_rotation_by_hand():
    truth, valid = straight(5, 1.0)
    motion = np.array([at(1.0, yaw_deg=0.5)] * 5)
    score = odometry_metrics(motion, truth, valid, (1.0, 2.0))
    assert score["rotation_deg_per_m"] == pytest.approx(0.5)
    assert score["rpe_rotation_deg"] == pytest.approx(0.5)
    # 1 m: the step itself is right. 2 m: the second step goes off by 0.5 deg: 2 sin(0.25 deg) / 2 m.
    two = math.sin(math.radians(0.25))
    assert score["translation_percent"] == pytest.approx(100 * (4 * 0.0 + 3 * two) / 7)


def test_odometry_agrees_with_matrices_on_a_random_walk():
    rng = np.random.default_rng(3)
    truth, motion = random_poses(rng, 30), random_poses(rng, 30)
    valid = np.ones(30, bool)
    valid[[0, 14]] = False
    score = odometry_metrics(motion, truth, valid, (2.0, 5.0))

    T, M = matrices(truth), matrices(motion)
    errors = []
    for start, end in ((0, 14), (14, 30)):
        for length in (2.0, 5.0):
            for i in range(start, end):
                travelled, odometry = 0.0, np.eye(4)
                for j in range(i + 1, end):
                    travelled += float(np.linalg.norm(T[j, :3, 3] - T[j - 1, :3, 3]))
                    odometry = odometry @ M[j]
                    if travelled >= length:
                        E = np.linalg.inv(np.linalg.inv(T[i]) @ T[j]) @ odometry
                        angle = Rotation.from_matrix(E[:3, :3]).magnitude()
                        errors.append((np.linalg.norm(E[:3, 3]) / travelled, angle / travelled))
                        break
    translation, rotation = np.mean(errors, axis=0)
    assert score["segments"] == len(errors) > 20
    assert score["translation_percent"] == pytest.approx(100 * translation)
    assert score["rotation_deg_per_m"] == pytest.approx(math.degrees(rotation))
    steps = [np.linalg.inv(np.linalg.inv(T[i - 1]) @ T[i]) @ M[i] for i in np.flatnonzero(valid)]
    assert score["frames"] == 28
    assert score["rpe_translation_m"] == pytest.approx(math.sqrt(np.mean([s[:3, 3] @ s[:3, 3] for s in steps])))


def test_perfect_odometry_does_not_drift_across_sequences():
    rng = np.random.default_rng(5)
    truth = random_poses(rng, 12)
    motion = np.array([HERE, *relative(truth[:-1], truth[1:])])
    motion[6] = NAN7  # nobody reads what stands where there is no previous frame
    valid = np.ones(12, bool)
    valid[6] = False
    score = odometry_metrics(motion, truth, valid, (1.0,))
    assert score["translation_percent"] == pytest.approx(0.0, abs=1e-9)
    assert score["rpe_rotation_deg"] == pytest.approx(0.0, abs=1e-5)


def test_a_valid_motion_that_is_none_is_infinitely_wrong():
    truth, valid = straight(5, 1.0)
    motion = np.array([at(1.0)] * 5)
    motion[2] = NAN7
    score = odometry_metrics(motion, truth, valid, (1.0,))
    assert score["rpe_translation_m"] == math.inf
    assert score["translation_percent"] == math.inf


def test_odometry_without_motion_or_frames():
    still = odometry_metrics([HERE] * 4, [HERE] * 4, [False, True, True, True])
    assert math.isnan(still["translation_percent"])
    assert math.isnan(still["rotation_deg_per_m"])
    assert still["segment_lengths_m"] == []
    assert still["rpe_translation_m"] == 0.0
    for n in (0, 1):
        score = odometry_metrics([HERE] * n, [HERE] * n, [True] * n)
        assert score["frames"] == score["segments"] == 0
        assert math.isnan(score["rpe_translation_m"])


@pytest.mark.parametrize(
    ("step", "lengths"),
    [
        (1.0, [100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0]),
        (0.9, [1.0, 2.0, 4.0, 8.0]),
        (0.01, [1.0, 2.0, 4.0, 8.0]),
        (0.001, [0.1, 0.2, 0.4, 0.8]),
        (0.0005, [0.1, 0.2, 0.4]),
        (0.0001, []),
    ],
)
def test_the_longest_true_path_chooses_the_segments_and_the_result_states_them(step, lengths):
    truth, valid = straight(801, step)
    score = odometry_metrics(np.tile(at(1.1 * step), (801, 1)), truth, valid)
    assert score["segment_lengths_m"] == lengths
    if lengths:
        assert score["translation_percent"] == pytest.approx(10.0)
    else:
        assert math.isnan(score["translation_percent"])


def test_runs_and_not_their_sum_choose_the_segments():
    truth, valid = straight(801, 1.0)
    valid[400] = False
    assert odometry_metrics(np.tile(at(1.0), (801, 1)), truth, valid)["segment_lengths_m"] == [1.0, 2.0, 4.0, 8.0]


def test_odometry_refuses():
    with pytest.raises(DataError, match="2 validity flags for 1 frames"):
        odometry_metrics([HERE], [HERE], [True, True])
    with pytest.raises(DataError, match="segment lengths must be positive"):
        odometry_metrics([HERE], [HERE], [True], (0.0,))


# --- segmentation


def test_confusion_by_hand():
    truth = np.array([[0, 0, 1], [1, 2, 255]], np.uint8)
    mask = np.array([[0, 1, 1], [1, 0, 7]], np.uint8)  # what stands on unlabelled pixels does not matter
    np.testing.assert_array_equal(confusion(mask, truth, 3), [[1, 1, 0], [0, 2, 0], [1, 0, 0]])
    assert confusion(mask, truth, 3).dtype == np.int64


def test_segmentation_by_hand():
    score = segmentation_metrics(np.array([[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]), list("abcd"))
    assert score["iou"]["a"] == pytest.approx(1 / 3)
    assert score["iou"]["b"] == pytest.approx(2 / 3)
    assert score["iou"]["c"] == 0.0
    assert math.isnan(score["iou"]["d"])  # neither there nor predicted
    assert score["mean_iou"] == pytest.approx(1 / 3)


def test_a_class_predicted_but_never_there_counts():
    assert segmentation_metrics(np.array([[3, 1], [0, 0]]), ["a", "b"])["mean_iou"] == pytest.approx(0.375)


def test_one_class_alone():
    same = segmentation_metrics(confusion(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), 2), ["a", "b"])
    assert same["mean_iou"] == same["iou"]["a"] == 1.0
    assert math.isnan(same["iou"]["b"])
    only = segmentation_metrics(np.array([[4]]), ["a"])
    assert only == {"mean_iou": 1.0, "iou": {"a": 1.0}}


def test_unlabelled_frames_have_no_score():
    void = np.full((2, 2), 255, np.uint8)
    counts = confusion(np.zeros((2, 2), np.uint8), void, 2)
    assert counts.sum() == 0
    assert math.isnan(segmentation_metrics(counts, ["a", "b"])["mean_iou"])


def test_segmentation_refuses():
    zeros = np.zeros((2, 2), np.uint8)
    with pytest.raises(DataError, match="class id 3, but there are only 2 classes"):
        confusion(zeros, np.full((2, 2), 3, np.uint8), 2)
    with pytest.raises(DataError, match="the mask contains class id 255"):
        confusion(np.full((2, 2), 255, np.uint8), zeros, 2)
    with pytest.raises(DataError, match="its ground truth"):
        confusion(zeros, np.zeros((3, 2), np.uint8), 2)
    with pytest.raises(DataError, match="1 class names"):
        segmentation_metrics(np.eye(2, dtype=np.int64), ["a"])
