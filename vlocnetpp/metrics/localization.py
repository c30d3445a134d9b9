"""Global poses against the ground truth: errors in metres and degrees, medians, recall. Nothing is aligned first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vlocnetpp.errors import DataError
from vlocnetpp.metrics.statistics import mean, percentile
from vlocnetpp.poses import Floats, as_poses, relative, rotation_angle


def pose_errors(estimated_N7: ArrayLike, truth_N7: ArrayLike) -> tuple[Floats, Floats]:
    """How far each estimate is from its ground truth: (N,) metres and (N,) degrees, `inf` where there is no estimate.

    Nothing is aligned first: both are camera-to-world in the same map. Raises DataError if the lengths differ or a
    ground-truth pose is not a pose.
    """
    estimated, truth = matching_poses(estimated_N7, truth_N7, "estimates")
    translation = np.linalg.norm(estimated[:, :3] - truth[:, :3], axis=1)
    rotation = np.degrees(rotation_angle(relative(truth, estimated)[:, 3:]))
    return missing_is_infinite(translation), missing_is_infinite(rotation)


def localization_metrics(estimated_N7: ArrayLike, truth_N7: ArrayLike) -> dict[str, Any]:
    """Score global poses against the ground truth, without alignment.

    `estimated_N7` has a row of NaN for a frame without an estimate; such a frame has infinite error, so the mean is
    `inf` from the first one on, the median from half of the frames on, and recall counts it as a miss. Percentiles
    interpolate linearly. Recall is the share of all frames (0..1) within both bounds. No frames: every figure is `nan`.
    Raises DataError if the lengths differ or a ground-truth pose is not a pose.
    """
    translation, rotation = pose_errors(estimated_N7, truth_N7)
    return {
        "frames": len(translation),
        "failed": int(np.isinf(translation).sum()),
        "median_translation_m": percentile(translation, 50),
        "median_rotation_deg": percentile(rotation, 50),
        "mean_translation_m": mean(translation),
        "mean_rotation_deg": mean(rotation),
        "p95_translation_m": percentile(translation, 95),
        "p95_rotation_deg": percentile(rotation, 95),
        "recall_5cm_5deg": mean((translation <= 0.05) & (rotation <= 5.0)),
        "recall_25cm_5deg": mean((translation <= 0.25) & (rotation <= 5.0)),
    }


def matching_poses(poses_N7: ArrayLike, truth_N7: ArrayLike, what: str) -> tuple[Floats, Floats]:
    poses, truth = as_poses(poses_N7, what), as_poses(truth_N7, "ground truth")
    if len(poses) != len(truth):
        raise DataError(f"{len(poses)} {what} for {len(truth)} ground-truth poses")
    bad = np.flatnonzero(np.isnan(truth).any(axis=1))
    if bad.size:
        raise DataError(f"ground-truth pose {bad[0]} is not a pose (finite numbers, unit quaternion)")
    return poses, truth


def missing_is_infinite(errors_N: Floats) -> Floats:
    return np.where(np.isnan(errors_N), np.inf, errors_N)
