"""Scores, baselines, trajectory files, figures and reports."""

from vlocnetpp.evaluation.metrics import (
    calibration_metrics,
    confusion,
    latency_metrics,
    localization_metrics,
    odometry_metrics,
    pose_errors,
    segmentation_metrics,
)

__all__ = [
    "calibration_metrics",
    "confusion",
    "latency_metrics",
    "localization_metrics",
    "odometry_metrics",
    "pose_errors",
    "segmentation_metrics",
]
