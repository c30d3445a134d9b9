"""Our scores against the field's own tools: evo for trajectories, torchmetrics for masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from evo.core.metrics import APE, RPE, PoseRelation, StatisticsType
from evo.core.trajectory import PosePath3D
from evo.tools.file_interface import read_tum_trajectory_file
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torchmetrics.classification import MulticlassJaccardIndex

from vlocnetpp.data.frames import VOID
from vlocnetpp.metrics import (
    confusion,
    localization_metrics,
    odometry_metrics,
    pose_errors,
    segmentation_metrics,
)
from vlocnetpp.poses import accumulate, compose, relative
from vlocnetpp.reporting.trajectory_files import write_tum

STAMPS = 1_700_000_000_123_456_789 + 33_333_333 * np.arange(40)


def walk(seed: int, frames: int = 40) -> np.ndarray:
    """A random walk of camera poses, (N, 7)."""
    rng = np.random.default_rng(seed)
    steps = np.zeros((frames, 7))
    steps[:, :3] = rng.normal(scale=0.1, size=(frames, 3))
    steps[:, 3:] = Rotation.from_rotvec(rng.normal(scale=0.2, size=(frames, 3))).as_quat()[:, [3, 0, 1, 2]]
    poses = steps[:1]
    for step in steps[1:]:
        poses = np.concatenate([poses, compose(poses[-1:], step[None])])
    return poses


def noisy(poses: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    errors = np.zeros_like(poses)
    errors[:, :3] = rng.normal(scale=0.05, size=(len(poses), 3))
    errors[:, 3:] = Rotation.from_rotvec(rng.normal(scale=0.1, size=(len(poses), 3))).as_quat()[:, [3, 0, 1, 2]]
    return compose(poses, errors)


def path_of(poses: np.ndarray) -> PosePath3D:
    return PosePath3D(positions_xyz=poses[:, :3], orientations_quat_wxyz=poses[:, 3:])


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_global_errors_are_evos_ape_without_alignment(seed: int) -> None:
    truth = walk(seed)
    estimate = noisy(truth, seed + 1)
    ours = localization_metrics(estimate, truth)
    for relation, unit in (
        (PoseRelation.translation_part, "translation_m"),
        (PoseRelation.rotation_angle_deg, "rotation_deg"),
    ):
        ape = APE(relation)
        ape.process_data((path_of(truth), path_of(estimate)))
        assert ours[f"median_{unit}"] == pytest.approx(ape.get_statistic(StatisticsType.median), abs=1e-9)
        assert ours[f"p95_{unit}"] == pytest.approx(np.percentile(ape.error, 95), abs=1e-6)
        assert ours[f"mean_{unit}"] == pytest.approx(ape.get_statistic(StatisticsType.mean), abs=1e-9)
        metres_or_degrees = pose_errors(estimate, truth)[unit == "rotation_deg"]
        np.testing.assert_allclose(metres_or_degrees, ape.error, atol=1e-6)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_errors_a_frame_are_evos_rpe(seed: int) -> None:
    truth = walk(seed)
    estimate = noisy(truth, seed + 1)
    motions = np.concatenate([np.full((1, 7), np.nan), relative(estimate[:-1], estimate[1:])])
    ours = odometry_metrics(motions, truth, [False] + [True] * (len(truth) - 1))
    for relation, name in (
        (PoseRelation.translation_part, "rpe_translation_m"),
        (PoseRelation.rotation_angle_deg, "rpe_rotation_deg"),
    ):
        rpe = RPE(relation, delta=1, all_pairs=True)
        rpe.process_data((path_of(truth), path_of(estimate)))
        assert ours[name] == pytest.approx(rpe.get_statistic(StatisticsType.rmse), abs=1e-6)


def devkit(truth_N44: np.ndarray, estimate_N44: np.ndarray, lengths: tuple[float, ...], every: int, travelled: bool):
    """KITTI's odometry devkit restated: (percent, degrees a metre), and how many segments there were.

    The devkit starts a segment at each tenth frame, ends it at the first frame further than its length, and divides by
    the nominal length; `every` and `travelled` put our choices there.
    """
    steps = np.linalg.norm(np.diff(truth_N44[:, :3, 3], axis=0), axis=1)
    distance = [0.0, *np.cumsum(steps).tolist()]
    errors = []
    for first in range(0, len(truth_N44), every):
        for length in lengths:
            last = next((i for i in range(first, len(distance)) if distance[i] > distance[first] + length), None)
            if last is None:
                continue
            true = np.linalg.inv(truth_N44[first]) @ truth_N44[last]
            error = np.linalg.inv(np.linalg.inv(estimate_N44[first]) @ estimate_N44[last]) @ true
            angle = np.arccos(np.clip((np.trace(error[:3, :3]) - 1) / 2, -1, 1))
            by = distance[last] - distance[first] if travelled else length
            errors.append((100 * np.linalg.norm(error[:3, 3]) / by, np.degrees(angle) / by))
    return np.mean(errors, axis=0), len(errors)


def drive(frames: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """A winding drive of about a metre a frame, and noisy motions along it with a small bias."""
    rng = np.random.default_rng(frames)
    true, motion = np.zeros((2, frames, 7))
    true[:, 2] = rng.uniform(0.8, 1.2, frames)
    turns = np.stack([np.zeros(frames), 0.05 * np.sin(np.arange(frames) / 30), np.zeros(frames)], axis=1)
    true[:, 3:] = Rotation.from_rotvec(turns).as_quat()[:, [3, 0, 1, 2]]
    motion[:, :3] = true[:, :3] * 1.01 + rng.normal(scale=noise, size=(frames, 3))
    turns += rng.normal(scale=noise / 20, size=turns.shape) + (0, 1e-4, 0)
    motion[:, 3:] = Rotation.from_rotvec(turns).as_quat()[:, [3, 0, 1, 2]]
    return accumulate(true, np.arange(frames) > 0), motion


def test_drift_is_kittis_but_for_the_starts_and_the_length() -> None:
    truth, motion = drive(250, 0.02)
    valid = np.arange(len(truth)) > 0
    ours = odometry_metrics(motion, truth, valid, (20.0, 50.0, 100.0))
    paths = path_of(truth), path_of(accumulate(motion, valid))
    theirs, segments = devkit(*(np.array(path.poses_se3) for path in paths), (20.0, 50.0, 100.0), 1, travelled=True)
    assert ours["segments"] == segments
    assert ours["translation_percent"] == pytest.approx(theirs[0], rel=1e-9)
    assert ours["rotation_deg_per_m"] == pytest.approx(theirs[1], rel=1e-6)


def test_at_kittis_own_lengths_the_choices_hardly_show() -> None:
    truth, motion = drive(1200, 0.02)
    valid = np.arange(len(truth)) > 0
    ours = odometry_metrics(motion, truth, valid)
    assert ours["segment_lengths_m"] == [100.0 * k for k in range(1, 9)]
    paths = path_of(truth), path_of(accumulate(motion, valid))
    theirs, _ = devkit(*(np.array(path.poses_se3) for path in paths), tuple(ours["segment_lengths_m"]), 10, False)
    assert ours["translation_percent"] == pytest.approx(theirs[0], rel=0.02)
    assert ours["rotation_deg_per_m"] == pytest.approx(theirs[1], rel=0.02)


def test_evo_reads_our_trajectories_to_the_bit_that_a_float_holds(tmp_path: Path) -> None:
    poses = walk(3)
    poses[5] = np.nan
    write_tum(tmp_path / "path.tum", STAMPS, poses, "map", "two\nlines")
    read = read_tum_trajectory_file(tmp_path / "path.tum")
    kept = np.isfinite(poses).all(axis=1)
    np.testing.assert_allclose(read.timestamps, STAMPS[kept] * 1e-9, atol=1e-6)
    np.testing.assert_allclose(read.positions_xyz, poses[kept, :3], atol=1e-9)
    np.testing.assert_allclose(read.orientations_quat_wxyz, poses[kept, 3:], atol=1e-8)


@given(seed=st.integers(0, 10_000), classes=st.integers(2, 7), share=st.sampled_from((0.0, 0.3, 0.9)))
@settings(max_examples=25, deadline=None)
def test_masks_score_like_torchmetrics(seed: int, classes: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, (6, 12, 16)).astype(np.uint8)
    answer = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, classes, truth.shape)).astype(np.uint8)
    truth[rng.random(truth.shape) < share] = VOID
    matrix = sum(confusion(a, t, classes) for a, t in zip(answer, truth, strict=True))
    ours = segmentation_metrics(matrix, [str(i) for i in range(classes)])
    theirs = MulticlassJaccardIndex(classes, average="none", ignore_index=VOID)(
        torch.from_numpy(answer.astype(np.int64)), torch.from_numpy(truth.astype(np.int64))
    ).numpy()
    occurs = matrix.sum(axis=0) + matrix.sum(axis=1) > 0
    np.testing.assert_allclose(np.array(list(ours["iou"].values()))[occurs], theirs[occurs], atol=1e-6)
    assert ours["mean_iou"] == pytest.approx(theirs[occurs].mean(), abs=1e-6)
