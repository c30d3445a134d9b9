"""Relative motions against the ground truth: drift over segments as KITTI scores it, and the error of each frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vlocnetpp.errors import DataError
from vlocnetpp.metrics.localization import matching_poses, missing_is_infinite
from vlocnetpp.metrics.statistics import mean
from vlocnetpp.poses import Floats, accumulate, relative, rotation_angle

SEGMENT_LENGTHS_M = {
    "streets": (100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0),
    "rooms": (1.0, 2.0, 4.0, 8.0),
    "tabletops": (0.1, 0.2, 0.4, 0.8),
}
"""Segment lengths for drift, by the size of the place; those of streets are KITTI's own."""


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
    motion, truth = matching_poses(relative_N7, truth_N7, "relative motions")
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
    metres, degrees = motion_errors(motion, truth, valid)
    drift: dict[float, list[tuple[float, float]]] = {float(length): [] for length in segment_lengths_m}
    for run in runs:
        if len(run) > 1:
            _collect_drift(motion[run], truth[run], drift)
    segments = np.array([pair for pairs in drift.values() for pair in pairs]).reshape(-1, 2)
    return {
        "translation_percent": 100.0 * mean(segments[:, 0]),
        "rotation_deg_per_m": float(np.degrees(mean(segments[:, 1]))),
        "rpe_translation_m": _root_mean_square(metres),
        "rpe_rotation_deg": _root_mean_square(degrees),
        "frames": len(current),
        "segments": len(segments),
        "segment_lengths_m": [length for length, pairs in drift.items() if pairs],
    }


def motion_errors(relative_N7: ArrayLike, truth_N7: ArrayLike, valid_N: ArrayLike) -> tuple[Floats, Floats]:
    """Error of each valid motion, metres and degrees; infinite for one that is not a pose. See `odometry_metrics`."""
    motion, truth = matching_poses(relative_N7, truth_N7, "relative motions")
    current = np.flatnonzero(valid_N)
    error = relative(relative(truth[current - 1], truth[current]), motion[current])
    return (
        missing_is_infinite(np.linalg.norm(error[:, :3], axis=1)),
        missing_is_infinite(np.degrees(rotation_angle(error[:, 3:]))),
    )


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
        translation = missing_is_infinite(np.linalg.norm(error[:, :3], axis=1)) / metres
        rotation = missing_is_infinite(rotation_angle(error[:, 3:])) / metres
        pairs.extend(zip(translation.tolist(), rotation.tolist(), strict=True))


def _root_mean_square(values_N: Floats) -> float:
    return float(np.sqrt(mean(np.square(values_N))))
