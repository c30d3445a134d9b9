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
from vlocnetpp.evaluation.poses import Floats, as_poses, compose, relative, rotation_angle

SEGMENT_LENGTHS_M = (1.0, 2.0, 4.0, 8.0)
"""Default segments for rooms and courtyards; KITTI's own 100-800 m are for streets."""


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
        "mean_translation_m": _mean(translation),
        "mean_rotation_deg": _mean(rotation),
        "p95_translation_m": percentile(translation, 95),
        "p95_rotation_deg": percentile(rotation, 95),
        "recall_5cm_5deg": _mean((translation <= 0.05) & (rotation <= 5.0)),
        "recall_25cm_5deg": _mean((translation <= 0.25) & (rotation <= 5.0)),
    }


def odometry_metrics(
    relative_N7: ArrayLike,
    truth_N7: ArrayLike,
    valid_N: ArrayLike,
    segment_lengths_m: Sequence[float] = SEGMENT_LENGTHS_M,
) -> dict[str, Any]:
    """Score relative motions the way KITTI does, over segments of stated length, and per frame.

    `relative_N7[i]` is the estimate of `inv(T_{i-1}) @ T_i` and `truth_N7[i]` the ground-truth `T_i`, for the frames
    that were answered, in order. `valid_N[i]` is False where frame i has no previous frame (the first of a sequence, a
    cold start): drift is never accumulated across it. A valid motion that is not a pose is infinitely wrong.

    From every frame, each segment reaches to the first frame at least that far along the true path. Its error is
    the difference between the accumulated and the true motion, divided by the travelled length of the segment. (KITTI
    divides by the nominal length; at 100 m that is the same, at 1 m a frame's step would show in the result.) The
    averages run over all segments of all lengths; `segment_lengths_m` in the result are the lengths that fitted at all.
    The error per frame, RPE, is the root mean square over valid frames (Sturm et al. 2012).

    Not a single segment (no motion, or too short) or no valid frame: the figures concerned are `nan`.
    Raises DataError if the lengths differ, a ground-truth pose is not a pose, or a segment length is not positive.
    """
    if any(length <= 0 for length in segment_lengths_m):
        raise DataError(f"segment lengths must be positive metres, not {list(segment_lengths_m)}")
    motion, truth = _pair(relative_N7, truth_N7, "relative motions")
    valid = np.array(valid_N, dtype=bool).reshape(-1)
    if len(valid) != len(truth):
        raise DataError(f"{len(valid)} validity flags for {len(truth)} frames")
    valid[:1] = False

    current = np.flatnonzero(valid)
    step_error = relative(relative(truth[current - 1], truth[current]), motion[current])
    drift: dict[float, list[tuple[float, float]]] = {float(length): [] for length in segment_lengths_m}
    for run in np.split(np.arange(len(truth)), np.flatnonzero(~valid)):
        if len(run) > 1:
            _collect_drift(motion[run], truth[run], drift)
    segments = np.array([pair for pairs in drift.values() for pair in pairs]).reshape(-1, 2)
    return {
        "translation_percent": 100.0 * _mean(segments[:, 0]),
        "rotation_deg_per_m": float(np.degrees(_mean(segments[:, 1]))),
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
        "mean_iou": _mean(iou[union > 0]),
        "iou": {name: float(value) for name, value in zip(class_names, iou, strict=True)},
    }


def latency_metrics(ms_N: ArrayLike) -> dict[str, float]:
    """Percentiles of times in milliseconds, linearly interpolated; `nan` without any."""
    times = np.asarray(ms_N, dtype=np.float64).reshape(-1)
    return {"p50": percentile(times, 50), "p95": percentile(times, 95), "p99": percentile(times, 99)}


def calibration_metrics(sigma_N2: ArrayLike, errors_N2: ArrayLike) -> dict[str, dict[str, float]]:
    """Does the predicted uncertainty say how wrong a pose is? For translation and rotation, each in its own unit.

    `sigma_N2` is the predicted scale of the error and `errors_N2` the error itself: translation, then rotation. Frames
    where either is not finite are left out and show in `frames`.

    - `mean_sigma`, `median_sigma`: how sharp the prediction is, in the unit that was passed (reports: metres, degrees).
    - `error_over_sigma`: mean error over mean sigma; 1 is calibrated, above 1 is overconfident.
    - `within_1_sigma`, `within_2_sigma`, `within_3_sigma`: share of frames whose error is at most that many sigmas. Our
      sigma is the 68 % bound; were errors normal, 95 % and 99.7 % would lie within twice and three times that.
    - `rank_correlation`: Spearman's; 1 means sigma orders frames exactly by their error, 0 that it says nothing.
    - `sparsification_error`: area between the mean error left after dropping the most uncertain frames and the same
      after dropping the truly worst ones, relative to the mean error; 0 is perfect (AUSE, Ilg et al. 2018).

    Too few frames, or no spread to correlate: `nan`. Raises DataError on shapes other than (N, 2) or a negative sigma.
    """
    sigma = np.asarray(sigma_N2, dtype=np.float64)
    errors = np.asarray(errors_N2, dtype=np.float64)
    if sigma.shape != errors.shape or sigma.ndim != 2 or sigma.shape[1] != 2:
        raise DataError(f"uncertainties {sigma.shape} and errors {errors.shape} must both have the shape (N, 2)")
    if (sigma < 0).any():
        raise DataError("an uncertainty is negative: pass the scale itself, not its logarithm")
    return {
        "translation": _calibration(sigma[:, 0], errors[:, 0]),
        "rotation": _calibration(sigma[:, 1], errors[:, 1]),
    }


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


def _collect_drift(motion_N7: Floats, truth_N7: Floats, drift: dict[float, list[tuple[float, float]]]) -> None:
    """Append (metres per metre, radians per metre) for each segment of one uninterrupted run; row 0 has no motion."""
    travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(truth_N7[:, :3], axis=0), axis=1))])
    odometry = np.empty_like(motion_N7)
    odometry[0] = (0, 0, 0, 1, 0, 0, 0)
    for i in range(1, len(odometry)):
        odometry[i] = compose(odometry[i - 1], motion_N7[i])
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


def _calibration(sigma_N: Floats, error_N: Floats) -> dict[str, float]:
    known = np.isfinite(sigma_N) & np.isfinite(error_N)
    sigma, error = sigma_N[known], error_N[known]
    mean_error = _mean(error)
    return {
        "frames": len(error),
        "mean_sigma": _mean(sigma),
        "median_sigma": percentile(sigma, 50),
        "error_over_sigma": mean_error / _mean(sigma) if len(sigma) and sigma.any() else float("nan"),
        **{f"within_{k}_sigma": _mean(error <= k * sigma) for k in (1, 2, 3)},
        "rank_correlation": _correlation(_ranks(sigma), _ranks(error)),
        "sparsification_error": (
            float(np.mean(_left_after_dropping(sigma, error) - _left_after_dropping(error, error))) / mean_error
            if len(error) and mean_error > 0
            else float("nan")
        ),
    }


def _left_after_dropping(by_N: Floats, error_N: Floats) -> Floats:
    """Mean error of the frames that stay when the k frames with the largest `by` are dropped, for k = 0..N-1."""
    kept = error_N[np.argsort(by_N, kind="stable")]
    return (np.cumsum(kept) / np.arange(1, len(kept) + 1))[::-1]


def _ranks(values_N: Floats) -> Floats:
    """Ranks from 1; equal values share their mean rank."""
    _, group, count = np.unique(values_N, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2.0)[group]


def _correlation(a_N: Floats, b_N: Floats) -> float:
    if len(a_N) < 2 or np.ptp(a_N) == 0 or np.ptp(b_N) == 0:
        return float("nan")
    return float(np.corrcoef(a_N, b_N)[0, 1])


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


def _mean(values: NDArray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _root_mean_square(values_N: Floats) -> float:
    return float(np.sqrt(_mean(np.square(values_N))))
