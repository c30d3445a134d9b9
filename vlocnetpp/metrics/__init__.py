"""Metrics on plain arrays: errors, recall, drift, intersection over union, calibration. A frame without an estimate
counts as infinitely wrong, so a statistic may be `inf`; it is `nan` where there is nothing to measure. Both are written
to JSON as null; `frames` and `failed` beside them distinguish the two.
"""

from vlocnetpp.metrics.localization import localization_metrics, pose_errors
from vlocnetpp.metrics.odometry import motion_errors, odometry_metrics
from vlocnetpp.metrics.segmentation import confusion, segmentation_metrics
from vlocnetpp.metrics.statistics import latency_metrics, mean, percentile

__all__ = [
    "confusion",
    "latency_metrics",
    "localization_metrics",
    "mean",
    "motion_errors",
    "odometry_metrics",
    "percentile",
    "pose_errors",
    "segmentation_metrics",
]
