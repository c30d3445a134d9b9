"""What a number means: errors, recall, drift, intersection over union, calibration. From plain arrays.

Two values stand for what is not a number of metres: `inf` where frames without an estimate reach into a statistic (a
frame without an estimate counts as infinitely wrong), and `nan` where there is nothing to measure at all. Both are
written to JSON as null; `frames` and `failed` beside them tell the two apart.
"""

from vlocnetpp.metrics.localization import localization_metrics, pose_errors
from vlocnetpp.metrics.odometry import odometry_metrics
from vlocnetpp.metrics.segmentation import confusion, segmentation_metrics
from vlocnetpp.metrics.statistics import latency_metrics, mean, percentile

__all__ = [
    "confusion",
    "latency_metrics",
    "localization_metrics",
    "mean",
    "odometry_metrics",
    "percentile",
    "pose_errors",
    "segmentation_metrics",
]
