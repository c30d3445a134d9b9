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
from vlocnetpp.evaluation.metrics import (
    confusion,
    localization_metrics,
    odometry_metrics,
    pose_errors,
    segmentation_metrics,
)
from vlocnetpp.evaluation.poses import compose, relative
from vlocnetpp.evaluation.trajectory_files import write_tum

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
