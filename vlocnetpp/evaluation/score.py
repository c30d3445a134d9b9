"""A streamed split scored against its labels: the sections of `metrics.json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data import Dataset, Frame
from vlocnetpp.encodings import VOID
from vlocnetpp.errors import DataError
from vlocnetpp.evaluation.stream import Streamed
from vlocnetpp.metrics import (
    confusion,
    latency_metrics,
    localization_metrics,
    motion_errors,
    odometry_metrics,
    pose_errors,
    segmentation_metrics,
)
from vlocnetpp.metrics.calibration import calibration_metrics
from vlocnetpp.poses import Floats
from vlocnetpp.runtime import Model


def check_labels(model: Model, dataset: Dataset, split: str) -> None:
    """Raise DataError where a split has no labels, or other classes than the model."""
    frames = dataset.frames(split)
    masked = any(frame.mask_path for frame in frames)
    if not masked and all(frame.pose_7 is None for frame in frames):
        raise DataError(
            f"{dataset.root}: split '{split}' has neither poses nor masks to compare with; look at it with --no-labels"
        )
    names = [name for name, _ in model.metadata.classes]
    if masked and "segmentation" in model.metadata.tasks and [each.name for each in dataset.classes] != names:
        raise DataError(f"{dataset.root}: its classes are not those of {model.path.name} ({', '.join(names)})")


def true_poses(frames: Sequence[Frame]) -> tuple[NDArray[np.bool_], Floats]:
    """Which frames have a ground-truth pose (N,), and the poses (N, 7), the identity where there is none."""
    posed = np.array([frame.pose_7 is not None for frame in frames], bool)
    identity = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
    poses = [identity if frame.pose_7 is None else frame.pose_7 for frame in frames]
    return posed, np.array(poses, np.float64).reshape(-1, 7)


def mask_confusion(answer_HW: NDArray[np.uint8], truth_HW: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """`metrics.confusion` of an answer that is 255 where the network's crop left the image out: not scored there."""
    seen = answer_HW != VOID
    return confusion(np.where(seen, answer_HW, 0), np.where(seen, truth_HW, VOID), classes)


def score(
    frames: Sequence[Frame],
    answers: Streamed,
    tasks: Sequence[str],
    confusion_CC: NDArray[np.int64],
    class_names: Sequence[str],
) -> dict[str, Any]:
    """The sections of a model's tasks that have labels, and always `latency_ms`."""
    posed, truth = true_poses(frames)
    metrics: dict[str, Any] = {}
    if "localization" in tasks and posed.any():
        metrics["localization"] = localization_metrics(answers.pose_N7[posed], truth[posed])
        metres, degrees = pose_errors(answers.pose_N7[posed], truth[posed])
        sigma = answers.sigma_N2[posed] * (1.0, 180.0 / np.pi)
        metrics["calibration"] = calibration_metrics(sigma, np.stack((metres, degrees), axis=1))
    # A motion has a truth where both of its frames have one.
    known = answers.valid_N & posed & np.roll(posed, 1)
    if known.any():
        metrics["odometry"] = odometry_metrics(answers.relative_N7, truth, known)
        if answers.motion_sigma_N2 is not None:
            errors = np.stack(motion_errors(answers.relative_N7, truth, known), axis=1)
            sigma = answers.motion_sigma_N2[known] * (1.0, 180.0 / np.pi)
            metrics["motion_calibration"] = calibration_metrics(sigma, errors)
    if confusion_CC.sum():
        metrics["segmentation"] = segmentation_metrics(confusion_CC, class_names)
    metrics["latency_ms"] = latency_metrics(answers.latency_ms_N)
    return metrics
