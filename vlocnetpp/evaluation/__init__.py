"""Scores, baselines, trajectory files, figures and reports."""

from vlocnetpp.evaluation.figures import plot_trajectory
from vlocnetpp.evaluation.files import write_json
from vlocnetpp.evaluation.metrics import (
    calibration_metrics,
    confusion,
    latency_metrics,
    localization_metrics,
    odometry_metrics,
    pose_errors,
    segmentation_metrics,
)
from vlocnetpp.evaluation.peers import PEERS, Peer, mean_pose, nearest_training_pose, thumbnail_retrieval
from vlocnetpp.evaluation.report import write_report
from vlocnetpp.evaluation.tables import Table, print_table
from vlocnetpp.evaluation.trajectory_files import read_tum, write_tum

__all__ = [
    "PEERS",
    "Peer",
    "Table",
    "calibration_metrics",
    "confusion",
    "latency_metrics",
    "localization_metrics",
    "mean_pose",
    "nearest_training_pose",
    "odometry_metrics",
    "plot_trajectory",
    "pose_errors",
    "print_table",
    "read_tum",
    "segmentation_metrics",
    "thumbnail_retrieval",
    "write_json",
    "write_report",
    "write_tum",
]
