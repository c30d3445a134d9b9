"""The numbers that `metrics.json` carries, from plain arrays.

Two values stand for what is not a number of metres: `inf` where frames without an estimate reach into a statistic (a
frame without an estimate counts as infinitely wrong), and `nan` where there is nothing to measure at all. Both are
written to JSON as null; `frames` and `failed` beside them tell the two apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlocnetpp.data.frames import VOID, DataError
from vlocnetpp.evaluation.poses import Floats, accumulate, as_poses, relative, rotation_angle

SEGMENT_LENGTHS_M = {
    "streets": (100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0),
    "rooms": (1.0, 2.0, 4.0, 8.0),
    "tabletops": (0.1, 0.2, 0.4, 0.8),
}
"""Segments over which odometry drifts, by the size of the place; those of streets are KITTI's own."""


def pose_errors(estimated_N7: ArrayLike, truth_N7: ArrayLike) -> tuple[Floats, Floats]:
    """How far each estimate is from its ground truth: (N,) metres and (N,) degrees, `inf` where there is no estimate.

    Nothing is aligned first: both are camera-to-world in the same map. Raises DataError if the lengths differ or a
    ground-truth pose is not a pose.
    """
    estimated, truth = _pair(estimated_N7, truth_N7, "estimates")
    translation = np.linalg.norm(estimated[:, :3] - truth[:, :3], axis=1)
    rotation = np.degrees(rotation_angle(relative(truth, estimated)[:, 3:]))
    return _missing_is_infinite(translation), _missing_is_infinite(rotation)


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


def odometry_metrics(
    relative_N7: ArrayLike,
    truth_N7: ArrayLike,
    valid_N: ArrayLike,
    segment_lengths_m: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Score relative motions the way KITTI does, over segments of stated length, and per frame.

    `relative_N7[i]` is the estimate of `inv(T_{i-1}) @ T_i` and `truth_N7[i]` the ground-truth `T_i`, for the frames
    that were answered, in order. `valid_N[i]` is False where frame i has no previous frame (the first of a sequence, a
    cold start): drift is never accumulated across it. A valid motion that is not a pose is infinitely wrong.

    From every frame, each segment reaches to the first frame at least that far along the true path. Its error is
    the difference between the accumulated and the true motion, divided by the travelled length of the segment. (KITTI
    divides by the nominal length; at 100 m that is the same, at 1 m a frame's step would show in the result.) The
    averages run over all segments of all lengths; `segment_lengths_m` in the result are the lengths that fitted at all.
    Without lengths given, the true path decides: KITTI's own from 800 m on in one run, those of a room from 1 m on,
    those of a tabletop below. The error per frame, RPE, is the root mean square over valid frames (Sturm et al. 2012).

    Not a single segment (no motion, or too short) or no valid frame: the figures concerned are `nan`.
    Raises DataError if the lengths differ, a ground-truth pose is not a pose, or a segment length is not positive.
    """
    motion, truth = _pair(relative_N7, truth_N7, "relative motions")
    valid = np.array(valid_N, dtype=bool).reshape(-1)
    if len(valid) != len(truth):
        raise DataError(f"{len(valid)} validity flags for {len(truth)} frames")
    valid[:1] = False
    runs = np.split(np.arange(len(truth)), np.flatnonzero(~valid))
    if segment_lengths_m is None:
        segment_lengths_m = _lengths_that_fit(
            max((_travelled(truth[run])[-1] for run in runs if len(run)), default=0.0)
        )
    if any(length <= 0 for length in segment_lengths_m):
        raise DataError(f"segment lengths must be positive metres, not {list(segment_lengths_m)}")

    current = np.flatnonzero(valid)
    step_error = relative(relative(truth[current - 1], truth[current]), motion[current])
    drift: dict[float, list[tuple[float, float]]] = {float(length): [] for length in segment_lengths_m}
    for run in runs:
        if len(run) > 1:
            _collect_drift(motion[run], truth[run], drift)
    segments = np.array([pair for pairs in drift.values() for pair in pairs]).reshape(-1, 2)
    return {
        "translation_percent": 100.0 * mean(segments[:, 0]),
        "rotation_deg_per_m": float(np.degrees(mean(segments[:, 1]))),
        "rpe_translation_m": _root_mean_square(_missing_is_infinite(np.linalg.norm(step_error[:, :3], axis=1))),
        "rpe_rotation_deg": _root_mean_square(_missing_is_infinite(np.degrees(rotation_angle(step_error[:, 3:])))),
        "frames": len(current),
        "segments": len(segments),
        "segment_lengths_m": [length for length, pairs in drift.items() if pairs],
    }


def confusion(mask_HW: NDArray[np.integer], truth_HW: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """Count pixels by true class (row) and predicted class (column): (C, C); 255 in the truth is not counted.

    Raises DataError if the shapes differ or an id is not in 0..C-1.
    """
    if mask_HW.shape != truth_HW.shape:
        raise DataError(f"the mask is {mask_HW.shape}, its ground truth {truth_HW.shape}")
    labelled = truth_HW != VOID
    true = truth_HW[labelled].astype(np.int64)
    predicted = mask_HW[labelled].astype(np.int64)
    for what, ids in (("ground truth", true), ("mask", predicted)):
        if ids.size and not 0 <= ids.min() <= ids.max() < classes:
            wrong = ids.min() if ids.min() < 0 else ids.max()
            raise DataError(f"the {what} contains class id {wrong}, but there are only {classes} classes")
    return np.bincount(true * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def segmentation_metrics(confusion_CC: NDArray[np.int64], class_names: Sequence[str]) -> dict[str, Any]:
    """Intersection over union per class and their mean.

    A class that occurs neither in the truth nor in the prediction has no IoU (`nan`) and is left out of the mean; one
    that was predicted though never present counts with 0. No labelled pixel at all: the mean is `nan`.
    Raises DataError if the number of names is not the number of classes.
    """
    if confusion_CC.shape != (len(class_names), len(class_names)):
        raise DataError(f"{len(class_names)} class names for a confusion matrix of {confusion_CC.shape}")
    hit = np.diag(confusion_CC).astype(np.float64)
    union = confusion_CC.sum(axis=0) + confusion_CC.sum(axis=1) - np.diag(confusion_CC)
    iou = np.full(len(hit), np.nan)
    np.divide(hit, union, out=iou, where=union > 0)
    return {
        "mean_iou": mean(iou[union > 0]),
        "iou": {name: float(value) for name, value in zip(class_names, iou, strict=True)},
    }


def latency_metrics(ms_N: ArrayLike) -> dict[str, float]:
    """Percentiles of times in milliseconds, linearly interpolated; `nan` without any."""
    times = np.asarray(ms_N, dtype=np.float64).reshape(-1)
    return {"p50": percentile(times, 50), "p95": percentile(times, 95), "p99": percentile(times, 99)}


def percentile(values: Floats, percent: float) -> float:
    """Linearly interpolated percentile; `inf` as soon as an infinite value takes part, `nan` without values."""
    if not len(values):
        return float("nan")
    # numpy's own interpolation says nan beside an infinite value, even at weight 0.
    below, above = (float(np.percentile(values, percent, method=side)) for side in ("lower", "higher"))
    if below == above or np.isinf(above):
        return above
    weight = percent / 100.0 * (len(values) - 1) % 1.0
    return below + weight * (above - below)


def _lengths_that_fit(path_m: float) -> Sequence[float]:
    """Segments for an uninterrupted path of so many metres."""
    path_m *= 1.0 + 1e-9  # as in `_collect_drift`: what fits exactly is not lost to rounding
    if path_m >= SEGMENT_LENGTHS_M["streets"][-1]:
        return SEGMENT_LENGTHS_M["streets"]
    return SEGMENT_LENGTHS_M["rooms" if path_m >= SEGMENT_LENGTHS_M["rooms"][0] else "tabletops"]


def _travelled(truth_N7: Floats) -> Floats:
    """Metres travelled until each frame, (N,), from 0."""
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(truth_N7[:, :3], axis=0), axis=1))])


def _collect_drift(motion_N7: Floats, truth_N7: Floats, drift: dict[float, list[tuple[float, float]]]) -> None:
    """Append (metres per metre, radians per metre) for each segment of one uninterrupted run; row 0 has no motion."""
    travelled = _travelled(truth_N7)
    odometry = accumulate(motion_N7, np.arange(len(motion_N7)) > 0)
    for length, pairs in drift.items():
        # The tolerance keeps a segment that fits exactly from being lost to rounding in the sum of its steps.
        ends = np.searchsorted(travelled, travelled + length * (1.0 - 1e-9))
        starts = np.flatnonzero(ends < len(travelled))
        ends = ends[starts]
        error = relative(relative(truth_N7[starts], truth_N7[ends]), relative(odometry[starts], odometry[ends]))
        metres = travelled[ends] - travelled[starts]
        translation = _missing_is_infinite(np.linalg.norm(error[:, :3], axis=1)) / metres
        rotation = _missing_is_infinite(rotation_angle(error[:, 3:])) / metres
        pairs.extend(zip(translation.tolist(), rotation.tolist(), strict=True))


def _pair(poses_N7: ArrayLike, truth_N7: ArrayLike, what: str) -> tuple[Floats, Floats]:
    poses, truth = as_poses(poses_N7, what), as_poses(truth_N7, "ground truth")
    if len(poses) != len(truth):
        raise DataError(f"{len(poses)} {what} for {len(truth)} ground-truth poses")
    bad = np.flatnonzero(np.isnan(truth).any(axis=1))
    if bad.size:
        raise DataError(f"ground-truth pose {bad[0]} is not a pose (finite numbers, unit quaternion)")
    return poses, truth


def _missing_is_infinite(errors_N: Floats) -> Floats:
    return np.where(np.isnan(errors_N), np.inf, errors_N)


def mean(values: NDArray) -> float:
    """Arithmetic mean; `nan` without values."""
    return float(np.mean(values)) if len(values) else float("nan")


def _root_mean_square(values_N: Floats) -> float:
    return float(np.sqrt(mean(np.square(values_N))))
